const BLOCK = /^<!-- figures:(\S+) -->\n(?:.*?\n)??<!-- \/figures -->$/gms;

/**
 * Replaces the blocks of a page that scripts write: what stands between `<!-- figures:NAME -->` and
 * `<!-- /figures -->`, each on a line of its own.
 *
 * @param markdown text of the page
 * @param figuresOf what belongs into the block of a name
 * @throws Error a line begins or ends a block of which there is no other end
 */
export function replaceBlocks(markdown: string, figuresOf: (name: string) => string): string {
  const text = markdown.replaceAll(
    BLOCK,
    (_, name: string) => `<!-- figures:${name} -->\n\n${figuresOf(name)}\n\n<!-- /figures -->`,
  );
  const begins = text.match(/^<!-- figures:/gm)?.length ?? 0;
  const ends = text.match(/^<!-- \/figures -->$/gm)?.length ?? 0;
  const whole = text.match(BLOCK)?.length ?? 0;
  if (begins !== whole || ends !== whole) {
    throw new Error(
      `${begins} blocks of figures begin and ${ends} end, of which ${whole} are whole`,
    );
  }
  return text;
}
