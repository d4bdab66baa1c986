/** Vitest calls it once for a run, and what it returns in the end. */
export { startServer as default } from '../test/server.js';
