/** What a reader of declarations would stumble over; see `declarations.mjs`. */
export function findingsIn(directory: string): Promise<readonly string[]>;
