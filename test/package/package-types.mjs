import ts from 'typescript';

const OPTIONS = {
  target: ts.ScriptTarget.ES2023,
  module: ts.ModuleKind.NodeNext,
  moduleResolution: ts.ModuleResolutionKind.NodeNext,
  strict: true,
  exactOptionalPropertyTypes: true,
  noUncheckedIndexedAccess: true,
  experimentalDecorators: true,
  emitDecoratorMetadata: true,
  // The declarations of the package are to be checked.
  skipLibCheck: false,
  noEmit: true,
  types: ['node'],
};

/**
 * A compiler host for several programs: it reads and parses a file once for all of them. The files must
 * not change in between; which of them exist may.
 */
export function createSharedHost() {
  const host = ts.createCompilerHost(OPTIONS);
  const parsed = new Map();
  return {
    ...host,
    getSourceFile: (fileName, ...rest) => {
      if (!parsed.has(fileName)) parsed.set(fileName, host.getSourceFile(fileName, ...rest));
      return parsed.get(fileName);
    },
  };
}

/** What the compiler says of a consumer's file and of the declaration files that it reaches. */
export class PackageTypes {
  #program;
  #consumer;
  #packageDirectory;

  /**
   * @param {string} consumer - absolute path of a source file that imports the package
   * @param {string} packageDirectory - where the package is installed, with a separator at its end
   * @param {import('typescript').CompilerHost} host - see {@link createSharedHost}
   */
  constructor(consumer, packageDirectory, host) {
    this.#consumer = ts.sys.resolvePath(consumer);
    this.#packageDirectory = `${ts.sys.resolvePath(packageDirectory)}/`.replace(/\/+$/, '/');
    const directory = this.#consumer.slice(0, this.#consumer.lastIndexOf('/'));
    const options = { ...OPTIONS, typeRoots: [`${directory}/node_modules/@types`] };
    this.#program = ts.createProgram([consumer], options, host);
  }

  #isOurs(fileName) {
    return fileName === this.#consumer || fileName.startsWith(this.#packageDirectory);
  }

  /** Errors in the consumer's file, in the package's declarations, and those of no file. */
  get errors() {
    // The declarations of other packages are not asked for: most of the time would go there.
    const ofFiles = this.#program
      .getSourceFiles()
      .filter(({ fileName }) => this.#isOurs(fileName))
      .flatMap((file) => [
        ...this.#program.getSyntacticDiagnostics(file),
        ...this.#program.getSemanticDiagnostics(file),
      ]);
    const ofNone = [
      ...this.#program.getOptionsDiagnostics(),
      ...this.#program.getGlobalDiagnostics(),
    ];
    return [...ofNone, ...ofFiles].map((diagnostic) =>
      ts.formatDiagnostic(diagnostic, {
        getCanonicalFileName: (name) => name,
        getCurrentDirectory: () => this.#packageDirectory,
        getNewLine: () => '\n',
      }),
    );
  }

  get #declarations() {
    return this.#program
      .getSourceFiles()
      .filter(({ fileName }) => fileName.startsWith(this.#packageDirectory));
  }

  /** Number of the package's declaration files that its entry point reaches. */
  get files() {
    return this.#declarations.length;
  }

  /** Every module that a reached declaration file names: import, export, `import('x')` type. */
  get imports() {
    return this.#declarations.flatMap(({ fileName, text }) => {
      const { importedFiles, typeReferenceDirectives } = ts.preProcessFile(text, true, true);
      return [...importedFiles, ...typeReferenceDirectives].map((reference) => ({
        file: fileName.slice(this.#packageDirectory.length),
        specifier: reference.fileName,
      }));
    });
  }
}
