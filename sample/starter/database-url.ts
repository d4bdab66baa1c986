/**
 * The URL of a database of your own.
 *
 * @param variable of the environment
 * @returns `undefined` when it is not set
 * @throws Error when it holds no URL of a database
 */
export function databaseUrlFrom(variable: string): URL | undefined {
  const text = process.env[variable];
  if (text === undefined) {
    return undefined;
  }
  const url = URL.parse(text);
  if (url === null || url.pathname.length < 2) {
    throw new Error(`${variable} must look like postgres://user:password@host:5432/database`);
  }
  return url;
}
