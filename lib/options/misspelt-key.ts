/** Keys that are shorter are close to other words: `role` is as far from `rule` as from `roles`. */
const SHORTEST_GUESSED = 6;
const MOST_TYPOS = 2;

/** How many typing errors a short key may have. */
interface Guessing {
  readonly typosInShort: 0 | 1;
}

/**
 * The key that somebody has probably meant.
 *
 * @param key one that is not among `known`
 * @returns `undefined` where none is near
 */
export function misspeltKey(
  key: string,
  known: readonly string[],
  { typosInShort }: Guessing = { typosInShort: 0 },
): string | undefined {
  const written = key.toLowerCase();
  return known.find((each) => {
    const meant = each.toLowerCase();
    const most = meant.length >= SHORTEST_GUESSED ? MOST_TYPOS : typosInShort;
    return written === meant || (most > 0 && typosBetween(written, meant) <= most);
  });
}

/** How many characters have to be added, left out or replaced (the distance of Levenshtein). */
function typosBetween(written: string, meant: string): number {
  let row = Array.from({ length: meant.length + 1 }, (_, index) => index);
  for (const [index, letter] of written.split('').entries()) {
    const next = [index + 1];
    for (let column = 1; column <= meant.length; column++) {
      const isSame = letter === meant[column - 1];
      next.push(
        Math.min(row[column]! + 1, next[column - 1]! + 1, row[column - 1]! + (isSame ? 0 : 1)),
      );
    }
    row = next;
  }
  return row.at(-1)!;
}
