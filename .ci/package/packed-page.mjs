import { dirname, join, normalize } from 'node:path/posix';

/** Blocks and words of code, where brackets are no links. */
const CODE = /^```.*?^```|`[^`\n]*`/gms;
const LINK = /(?<mark>!?)\[(?<text>(?:[^[\]]|\[[^\]]*\])*)\]\((?<target>[^)\s]+)\)/g;

/**
 * A page of the repository as the package holds it. A link to what is not packed leads into the repository;
 * where that has no address yet, the page says the path instead.
 *
 * @param {string} page - its path, relative to the root
 * @param {string} text
 * @param {import('./packed-page.mjs').PackedFiles} files
 * @returns {string}
 * @throws Error where it shows a picture that is not packed
 */
export function packedPage(page, text, { isPacked, addressOf }) {
  // Code in the text of a link comes back with it.
  const code = [];
  const prose = text.replaceAll(CODE, (each) => `\0${code.push(each) - 1}\0`);
  const lead = (link, mark, words, target) => {
    if (/^([a-z]+:|#)/.test(target)) {
      return link;
    }
    const [path, anchor] = target.split('#');
    const file = normalize(join(dirname(page), path)).replace(/\/$/, '');
    if (isPacked(file)) {
      return link;
    }
    if (mark === '!') {
      throw new Error(`${page} shows ${file}, which is not packed`);
    }
    const address = addressOf(file);
    if (address !== undefined) {
      return `[${words}](${address}${anchor === undefined ? '' : `#${anchor}`})`;
    }
    return words === file ? words : `${words} (${file} in the repository)`;
  };
  return prose.replaceAll(LINK, lead).replaceAll(/\0(\d+)\0/g, (_, index) => code[index]);
}
