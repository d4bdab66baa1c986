/**
 * Rolls up what `nest build` has compiled to `build` into the package, `dist`: a file for each entry point
 * of `exports` and one for each set of modules that several of them load, so that every module, and with it
 * every class, exists once. Both kinds of files keep their names and their lines, for stack traces and for
 * readers: the program leaves out its comments, the declarations keep them.
 */
import { copyFile, readFile } from 'node:fs/promises';
import { dts } from 'rolldown-plugin-dts';

const { exports } = JSON.parse(await readFile(new URL('package.json', import.meta.url), 'utf8'));

/** The compiled files of all entry points, by their names in `dist`. */
function entries(kind, suffix) {
  return Object.fromEntries(
    Object.values(exports)
      .map((target) => target[kind])
      .filter((file) => file !== undefined)
      .map((file) => [
        file.replace('./dist/', '').replace(suffix, ''),
        file.replace('./dist/', './build/'),
      ]),
  );
}

const isOfAnotherPackage = (id) => !/^[./]/.test(id);

const output = {
  dir: 'dist',
  format: 'es',
  // Names as in the sources, for those who read the package in a debugger.
  minifyInternalExports: false,
  // A directory below `dist`, as lib/telemetry/place.ts takes the directory above its file for the library.
  chunkFileNames: 'shared/[name].js',
};

const PAGE = 'inspector/page';

/** What the page of the inspector has beside its program. */
const looksOfPage = {
  name: 'looks-of-page',
  writeBundle: () =>
    Promise.all(
      ['page.css', 'icon.svg'].map((name) =>
        copyFile(`build/${PAGE}/${name}`, `dist/${PAGE}/${name}`),
      ),
    ),
};

export default [
  {
    input: entries('default', /\.js$/),
    external: isOfAnotherPackage,
    platform: 'node',
    experimental: { attachDebugInfo: 'none' },
    output: { ...output, cleanDir: true, comments: false },
  },
  {
    // A program for browsers, of which no server prints a line: it is the only one without its names.
    input: `build/${PAGE}/page.js`,
    platform: 'browser',
    plugins: [looksOfPage],
    output: { dir: `dist/${PAGE}`, format: 'es', minify: true },
  },
  {
    input: entries('types', /\.d\.ts$/),
    external: isOfAnotherPackage,
    platform: 'node',
    experimental: { attachDebugInfo: 'none' },
    plugins: [dts({ dtsInput: true })],
    output,
  },
];
