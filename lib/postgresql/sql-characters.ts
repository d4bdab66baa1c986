/**
 * The classes of characters that the scanner of PostgreSQL tells apart. See
 * https://www.postgresql.org/docs/current/sql-syntax-lexical.html
 */
export const SPACE = 1;
export const DIGIT = 2;
export const LETTER = 3;
export const OPERATOR = 4;

/** What a character of ASCII begins, by its code. */
const CLASSES = new Uint8Array(128);
for (const [characters, is] of [
  [' \t\n\r\f\v', SPACE],
  ['0123456789', DIGIT],
  ['abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_', LETTER],
  ['+-*/<>=~!@#%^&|`?', OPERATOR],
] as const) {
  for (const character of characters) {
    CLASSES[character.charCodeAt(0)] = is;
  }
}

const DOLLAR = 0x24;

/** The class of a character; all that is not ASCII may be part of a name, and 0 is any other. */
export function classOf(code: number): number {
  return code < 128 ? CLASSES[code]! : code >= 128 ? LETTER : 0;
}

export function isOfWord(code: number): boolean {
  const is = classOf(code);
  return is === LETTER || is === DIGIT || code === DOLLAR;
}

export function isNewLine(code: number): boolean {
  return code === 0x0a || code === 0x0d;
}
