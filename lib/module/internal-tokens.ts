/** The options as the application gave them. */
export const MODULE_OPTIONS = Symbol('nestjs-db-context:module-options');
