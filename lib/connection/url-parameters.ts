/** The parameters of libpq and of other drivers by which a connection is to be encrypted. */
const ENCRYPTION = /^(?:ssl|requiressl$|gssencmode$|channel_binding$)/i;

/** The one parameter of a URL that MikroORM reads. */
const READ = 'schema';

/** The parameters of a URL, in their order; none where it is no URL. */
export function parametersOf(clientUrl: unknown): readonly (readonly [string, string])[] {
  return typeof clientUrl === 'string' && URL.canParse(clientUrl)
    ? [...new URL(clientUrl).searchParams]
    : [];
}

/** Whether a parameter says something of encryption. */
export function isAboutEncryption(key: string): boolean {
  return ENCRYPTION.test(key);
}

/** The names of the parameters that have no effect, as nobody reads them; those of encryption aside. */
export function droppedParametersOf(clientUrl: unknown): readonly string[] {
  const names = parametersOf(clientUrl).map(([key]) => key);
  return [...new Set(names)].filter((key) => key !== READ && !isAboutEncryption(key));
}
