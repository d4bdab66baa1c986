import { globSync, readFileSync, readdirSync } from 'node:fs';
import { dirname, extname, join, normalize, relative } from 'node:path';

import { DOCS, ROOT, isFolder, pageOf, shownFileOf } from './places.js';

/** A page of the site that shows a file of the repository. */
export interface SourcePage {
  /** What VitePress makes the address of. */
  readonly params: { readonly file: string; readonly title: string };
  readonly content: string;
}

const LINK = /(?<!!\[[^\]\n]*)\]\(([^)\s#]+)[^)\s]*\)/g;
const PICTURE = /(!\[[^\]]*\]\()([^)\s:]+)\)/g;

/**
 * The files of the repository that pages link to and that the site has to show, see {@link pageOf}.
 */
export function sourcePages(): SourcePage[] {
  // What is about the project as a whole is in the menu.
  const seen = new Set(globSync('{CHANGELOG,CONTRIBUTING,SECURITY}.md', { cwd: ROOT }));
  const left = [...seen, ...globSync(`${DOCS}/*.md`, { cwd: ROOT })];
  while (left.length > 0) {
    const page = left.pop()!;
    for (const file of linkedFrom(page).filter((path) => !seen.has(path))) {
      seen.add(file);
      if (file.endsWith('.md')) {
        left.push(file);
      }
    }
  }
  return [...seen].map((file) => ({
    params: { file: file.replace(/\.md$/, ''), title: file },
    content: contentOf(file),
  }));
}

/** The files outside of the documentation that a page links to. */
function linkedFrom(page: string): string[] {
  const text = readFileSync(join(ROOT, page), 'utf8').replaceAll(/^```.*?^```/gms, '');
  return [...text.matchAll(LINK)]
    .map(([, link]) => link!)
    .filter((link) => !/^[a-z]+:/.test(link))
    .map((link) => normalize(join(dirname(page), link)).replace(/\/$/, ''))
    .filter((path) => !path.startsWith(`${DOCS}/`) && pageOf(path).startsWith('/source/'))
    .map(shownFileOf);
}

function contentOf(file: string): string {
  if (isFolder(file)) {
    const names = readdirSync(join(ROOT, file)).filter((name) => !name.startsWith('.'));
    return [`# ${file}`, '', ...names.map((name) => `- ${name}`)].join('\n');
  }
  const text = readFileSync(join(ROOT, file), 'utf8');
  return extname(file) === '.md'
    ? text.replaceAll(PICTURE, (_, start: string, picture: string) => {
        const page = join(DOCS, 'source', dirname(file));
        return `${start}${relative(page, join(dirname(file), picture))})`;
      })
    : `# ${file}\n\n\`\`\`\`${extname(file).slice(1)}\n${text.trimEnd()}\n\`\`\`\`\n`;
}
