import ts from 'typescript';

/** What the compiler says of a consumer's file and of the declaration files that it reaches. */
export class PackageTypes {
  #program;
  #consumer;
  #packageDirectory;

  /**
   * @param {string} consumer - absolute path of a source file that imports the package
   * @param {string} packageDirectory - where the package is installed, with a separator at its end
   */
  constructor(consumer, packageDirectory) {
    this.#consumer = ts.sys.resolvePath(consumer);
    this.#packageDirectory = `${ts.sys.resolvePath(packageDirectory)}/`.replace(/\/+$/, '/');
    this.#program = ts.createProgram([consumer], {
      target: ts.ScriptTarget.ES2023,
      module: ts.ModuleKind.NodeNext,
      moduleResolution: ts.ModuleResolutionKind.NodeNext,
      strict: true,
      exactOptionalPropertyTypes: true,
      noUncheckedIndexedAccess: true,
      experimentalDecorators: true,
      emitDecoratorMetadata: true,
      skipLibCheck: false,
      noEmit: true,
      types: ['node'],
      typeRoots: [
        `${this.#consumer.slice(0, this.#consumer.lastIndexOf('/'))}/node_modules/@types`,
      ],
    });
  }

  #isOurs(fileName) {
    return fileName === this.#consumer || fileName.startsWith(this.#packageDirectory);
  }

  #diagnostics() {
    return ts.getPreEmitDiagnostics(this.#program);
  }

  /** Errors in the consumer's file, in the package's declarations, and those of no file. */
  get errors() {
    return this.#diagnostics()
      .filter(({ file }) => file === undefined || this.#isOurs(file.fileName))
      .map((diagnostic) =>
        ts.formatDiagnostic(diagnostic, {
          getCanonicalFileName: (name) => name,
          getCurrentDirectory: () => this.#packageDirectory,
          getNewLine: () => '\n',
        }),
      );
  }

  /** Number of errors in the declarations of other packages, which fail with us and without us. */
  get foreignErrors() {
    return this.#diagnostics().filter(
      ({ file }) => file !== undefined && !this.#isOurs(file.fileName),
    ).length;
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
