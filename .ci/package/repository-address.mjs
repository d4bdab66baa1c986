/**
 * Where the repository can be read, where package.json says it.
 *
 * @param {{ repository?: string | { url: string } }} manifest
 * @returns {string | undefined} for example `https://github.com/owner/name`
 */
export function repositoryAddress({ repository }) {
  const url = typeof repository === 'object' ? repository.url : repository;
  return url?.replace(/^git\+/, '').replace(/\.git$/, '');
}
