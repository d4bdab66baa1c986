/** What spans and metrics of this library are found by. */
export const SCOPE_NAME = 'nestjs-db-context';
/** That of the package; a test compares the two. */
export const SCOPE_VERSION = '0.0.0';
