/** Token of the context-wide options, which the interceptor reads. */
export const DB_CONTEXT_OPTIONS = Symbol('nestjs-db-context:options');
