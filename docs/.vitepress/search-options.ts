/** Explanations come before the reference, which has every word many times. */
function boostDocument(id: string): number {
  if (id.startsWith('/reference/')) {
    return 0.2;
  }
  // Whoever searches for an error types its name; for all other words the guides come first.
  return id.startsWith('/errors') ? 0.5 : 1;
}

/**
 * How the search finds and orders sections. VitePress hands the function to browsers as its text, so that it cannot use
 * anything around it.
 */
export const searchOptions = {
  prefix: true,
  // One letter of five may be another one, and one of three: RLS finds `res` as well.
  fuzzy: 0.2,
  boost: { title: 4, text: 2, titles: 1 },
  // What is written as it was typed comes first, also where the word that is only alike stands in a title.
  weights: { prefix: 0.375, fuzzy: 0.05 },
  boostDocument,
};
