import { readdirSync, readFileSync } from 'node:fs';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The files of the page, as they are beside this one. */
const DIRECTORY = fileURLToPath(new URL('page/', import.meta.url));
const TYPES: Readonly<Record<string, string>> = {
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
};

/** A file that the page loads. */
export interface PageFile {
  readonly contentType: string;
  readonly body: string;
}

/** Reads the files of the page, by their names. */
export function readPageFiles(): ReadonlyMap<string, PageFile> {
  const names = readdirSync(DIRECTORY).filter((name) => extname(name) in TYPES);
  return new Map(
    names.map((name) => [
      name,
      { contentType: TYPES[extname(name)]!, body: readFileSync(`${DIRECTORY}${name}`, 'utf8') },
    ]),
  );
}

/**
 * The page, whose files are below it. They are linked relative to the page, so that it may lie behind a
 * prefix of the application, or of a proxy.
 *
 * @param path of the page, which has been checked to need no escapes
 */
export function pageHtml(path: string): string {
  const base = path.split('/').at(-1)!;
  return `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <meta name="color-scheme" content="light dark">
    <title>Requests and their transactions</title>
    <link rel="icon" href="${base}/icon.svg">
    <link rel="stylesheet" href="${base}/page.css">
    <script type="module" src="${base}/page.js"></script>
  </head>
  <body>
    <header>
      <a class="home" href="#">nestjs-db-context</a>
      <p id="connection" role="status">Connecting</p>
    </header>
    <main id="main" tabindex="-1"></main>
    <noscript>This page needs JavaScript.</noscript>
  </body>
</html>
`;
}
