/** Injection token of the options of `DbContextModule.forRoot()`, as the application gave them. */
export const DB_CONTEXT_OPTIONS = Symbol(
  'nestjs-db-context: the options of DbContextModule.forRoot() or forRootAsync()',
);
