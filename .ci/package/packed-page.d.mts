/** What a page of the package can link to. */
export interface PackedFiles {
  /** Whether a file is packed, by its path relative to the root. */
  readonly isPacked: (file: string) => boolean;
  /** Where the repository shows a file or a folder; `undefined` where it has no address yet. */
  readonly addressOf: (file: string) => string | undefined;
}

/** A page of the repository as the package holds it; see `packed-page.mjs`. */
export function packedPage(page: string, text: string, files: PackedFiles): string;
