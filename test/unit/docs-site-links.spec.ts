/** What the build of the documentation site refuses; `npm run docs:build` looks at the real one. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

import { assertLinks } from '../../docs/.vitepress/check-links.js';

let site: string;

beforeEach(() => {
  site = mkdtempSync(join(tmpdir(), 'site-'));
  write('index.html', '<a href="/guide/one.html#first">one</a> <a href="guide/">guide</a>');
  write('guide/index.html', '<a href="../index.html">home</a> <a href="https://example.com">x</a>');
  write(
    'guide/one.html',
    '<h2 id="first">first</h2> <img src="/icon.svg"> <a href="#first">up</a>',
  );
  write('icon.svg', '<svg/>');
});

afterEach(() => rmSync(site, { recursive: true }));

function write(path: string, text: string): void {
  mkdirSync(dirname(join(site, path)), { recursive: true });
  writeFileSync(join(site, path), text);
}

function problems(): string {
  try {
    assertLinks(site);
    return 'none';
  } catch (error) {
    return (error as Error).message;
  }
}

it('a site whose links lead somewhere is taken', () => {
  expect(problems()).toBe('none');
});

it.each([
  ['a page', '<a href="/gone.html">x</a>', 'guide/one.html: a dead link, /gone.html'],
  ['an anchor', '<a href="/guide/#gone">x</a>', 'guide/one.html: a dead link, /guide/#gone'],
  ['an anchor of its own', '<a href="#gone">x</a>', 'guide/one.html: a dead link, #gone'],
  [
    'a font of another server',
    '<link rel="stylesheet" href="https://fonts.example.com/a.css">',
    'guide/one.html: loads https://fonts.example.com/a.css',
  ],
  [
    'a script of another server',
    '<script src="//cdn.example.com/a.js"></script>',
    'guide/one.html: loads //cdn.example.com/a.js',
  ],
])('%s', (_, html, problem) => {
  write('guide/one.html', `<h2 id="first">first</h2> ${html}`);
  expect(problems()).toBe(`The site has dead ends.\n${problem}`);
});

it('a page that no other page leads to', () => {
  write('lost.html', '<a href="/lost.html">itself</a>');
  expect(problems()).toBe('The site has dead ends.\nlost.html: no page leads to it');
});
