import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  CompilerState,
  Extractor,
  ExtractorConfig,
  ExtractorLogLevel,
} from '@microsoft/api-extractor';

const COMPILER_OPTIONS = {
  target: 'es2023',
  lib: ['es2023', 'es2024.promise'],
  module: 'nodenext',
  moduleResolution: 'nodenext',
  strict: true,
  exactOptionalPropertyTypes: true,
  experimentalDecorators: true,
  skipLibCheck: true,
  types: ['node'],
};
/** The variant that leaves out what is tagged as `@internal`. */
const SUFFIX = '.public.api.md';
const NOT_EXPORTED = /\(ae-forgotten-export\) The symbol "([^"]+)"/;

/**
 * Reports the public API of the built package: for each entry point in `exports` the declarations
 * that its users see, in the format of API Extractor. A line that begins with `// Warning` names a
 * declaration that a public signature needs and that no entry point exports; the last line of a
 * report lists those that only `@internal` members need.
 *
 * @param {string} root - directory of package.json, with `dist` below it
 * @returns {Promise<Map<string, string>>} the text of each report, by its file name
 */
export async function generateApiReports(root) {
  const manifest = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'));
  const entries = Object.entries(manifest.exports)
    .filter(([, target]) => target.types !== undefined)
    .map(([subpath, { types }]) => ({
      name: subpath === '.' ? 'index' : subpath.replace('./', ''),
      declarations: join(root, types),
    }));
  const directory = await mkdtemp(join(tmpdir(), 'nestjs-db-context-api-'));
  try {
    const configs = entries.map((entry) => prepare(root, directory, entry));
    const compilerState = CompilerState.create(configs[0], {
      additionalEntryPoints: entries.map(({ declarations }) => declarations),
    });
    for (const config of configs) {
      Extractor.invoke(config, {
        compilerState,
        localBuild: true,
        // The reports say all there is to say.
        messageCallback: (message) => {
          message.handled = true;
        },
      });
    }
    const raw = await Promise.all(
      entries.map(({ name }) => readFile(join(directory, name + SUFFIX), 'utf8')),
    );
    const exported = new Set(raw.flatMap(exportedNames));
    return new Map(
      entries.map(({ name }, index) => [`${name}.api.md`, tidy(raw[index], exported)]),
    );
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

function prepare(root, directory, { name, declarations }) {
  return ExtractorConfig.prepare({
    configObjectFullPath: undefined,
    packageJsonFullPath: join(root, 'package.json'),
    configObject: {
      projectFolder: root,
      mainEntryPointFilePath: declarations,
      newlineKind: 'lf',
      compiler: {
        overrideTsconfig: { compilerOptions: COMPILER_OPTIONS, files: [declarations] },
      },
      apiReport: {
        enabled: true,
        reportFileName: name,
        reportFolder: directory,
        reportTempFolder: join(directory, 'temp'),
        reportVariants: ['public'],
      },
      docModel: { enabled: false },
      dtsRollup: { enabled: false },
      tsdocMetadata: { enabled: false },
      messages: {
        compilerMessageReporting: { default: { logLevel: ExtractorLogLevel.None } },
        tsdocMessageReporting: { default: { logLevel: ExtractorLogLevel.None } },
        extractorMessageReporting: {
          default: { logLevel: ExtractorLogLevel.None },
          'ae-forgotten-export': { logLevel: ExtractorLogLevel.None, addToApiReportFile: true },
        },
      },
    },
  });
}

function exportedNames(report) {
  const declarations =
    /^export (?:abstract |declare )*(?:class|const|function|interface|type) (\w+)/gm;
  return [...report.matchAll(declarations)].map(([, name]) => name);
}

/**
 * Takes out what API Extractor, which knows of one entry point at a time, says of names that
 * another one exports, and the places of the others, which change with every line of the sources.
 */
function tidy(report, exported) {
  const isOfAnotherEntry = (line) => exported.has(NOT_EXPORTED.exec(line)?.[1]);
  const [signatures, places = ''] = report.split('// Warnings were encountered during analysis:\n');
  const hidden = places
    .split('\n')
    .map((line) => NOT_EXPORTED.exec(line)?.[1])
    .filter((name) => name !== undefined && !exported.has(name));
  const lines = signatures.split('\n').filter((line) => !isOfAnotherEntry(line));
  const text = lines
    // The empty line of comment that followed a warning that is gone.
    .filter((line, index) => line.trim() !== '//' || lines[index - 1]?.includes('// Warning'))
    .join('\n')
    .replace('// (No @packageDocumentation comment for this package)\n', '')
    .replace(/\s*```\s*$/, '\n');
  const names = [...new Set(hidden)].toSorted((one, other) => one.localeCompare(other, 'en'));
  const remark =
    names.length === 0
      ? ''
      : `\n// Not exported, and needed by @internal members alone: ${names.join(', ')}\n`;
  return `${text}${remark}\`\`\`\n`;
}
