/** Of longer texts the beginning is kept, in characters. */
const LONGEST_TEXT = 4_000;

/** A text as it is kept. */
export function shortened(text: string): string {
  return text.length > LONGEST_TEXT ? `${text.slice(0, LONGEST_TEXT)} …` : text;
}

/** How many bytes a text takes, about. */
export function bytesOfText(text: string | undefined): number {
  return text === undefined ? 0 : 2 * text.length;
}
