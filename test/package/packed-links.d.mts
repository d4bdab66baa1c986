/** Looks at the links of a package's pages as those do who have installed it; see `packed-links.mjs`. */
export function followLinks(
  directory: string,
  repository: { readonly root: string; readonly address?: string },
): Promise<{
  readonly links: number;
  readonly intoRepository: number;
  readonly dead: readonly string[];
}>;
