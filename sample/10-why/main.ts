import { databaseUrlFrom } from '../starter/database-url.js';
import { startLocalPostgres } from '../starter/local-postgres.js';
import { programsOn } from './programs.js';
import { runProgram } from './run-program.js';

const own = databaseUrlFrom('DATABASE_URL')?.href;
const postgres = own === undefined ? startLocalPostgres(['sample']) : undefined;
try {
  const databaseUrl = own ?? (await postgres!.urls).sample;
  for (const program of programsOn(databaseUrl)) {
    console.log(`${program.name}\n${await runProgram(program, databaseUrl)}\n`);
  }
} finally {
  await postgres?.stop();
}
