/** The API reference of the site, made of the docstrings: a page for each export of each entry point. */
import { readFileSync } from 'node:fs';

import { Converter, OptionDefaults } from 'typedoc';

const { name, exports } = JSON.parse(
  readFileSync(new URL('../../package.json', import.meta.url), 'utf8'),
);

/** The source of each entry point, and the name that applications import it by. */
const entryPoints = Object.entries(exports)
  .filter(([, target]) => typeof target === 'object')
  .map(([path, { types }]) => ({
    file: types.replace('./dist/', 'lib/').replace('.d.ts', '.ts'),
    importedAs: path.replace('.', name),
  }));

/** Calls modules by the name that they are imported by, rather than by their files. */
function nameModules(app) {
  const byFile = new Map(
    entryPoints.map(({ file, importedAs }) => [
      file.replace(/^lib\/|(\/index)?\.ts$/g, ''),
      importedAs,
    ]),
  );
  app.converter.on(Converter.EVENT_RESOLVE_BEGIN, ({ project }) => {
    for (const module of project.children ?? []) {
      module.name = byFile.get(module.name) ?? module.name;
    }
  });
}

/** Lets a comment of one entry point name what another one exports, such as the errors of the main one. */
function linkAcrossModules(app) {
  app.converter.addUnknownSymbolResolver(({ symbolReference }, reflection) => {
    const [first, ...rest] = symbolReference?.path?.map(({ path }) => path) ?? [];
    const modules = reflection.project.children ?? [];
    const found = modules.map((module) => module.getChildByName([first])).find(Boolean);
    const target = rest.length === 0 ? found : found?.getChildByName(rest);
    return target && { target };
  });
}

/** @type {import('typedoc').TypeDocOptions & import('typedoc-plugin-markdown').PluginOptions} */
export default {
  plugin: ['typedoc-plugin-markdown', nameModules, linkAcrossModules],
  entryPoints: entryPoints.map(({ file }) => `../../${file}`),
  tsconfig: '../../tsconfig.build.json',
  out: '../reference',
  name: 'API reference',
  readme: 'none',
  router: 'member',
  entryFileName: 'index',
  excludeInternal: true,
  excludePrivate: true,
  excludeExternals: true,
  disableSources: true,
  hidePageHeader: true,
  logLevel: 'Warn',
  useCodeBlocks: true,
  indexFormat: 'table',
  tableColumnSettings: { hideModifiers: true, hideInherited: true, hideOverrides: true },
  parametersFormat: 'table',
  modifierTags: [...OptionDefaults.modifierTags, '@publicApi'],
  // One for the compiler, which has to stay in the declarations.
  blockTags: [...OptionDefaults.blockTags, '@ts-ignore'],
  excludeTags: ['@publicApi', '@ts-ignore'],
  treatWarningsAsErrors: true,
  validation: { notExported: false, invalidLink: true },
};
