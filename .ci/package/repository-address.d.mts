/** Where the repository can be read, where package.json says it; see `repository-address.mjs`. */
export function repositoryAddress(manifest: {
  readonly repository?: string | { readonly url: string };
}): string | undefined;
