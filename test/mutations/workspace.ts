import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { mutated, type Mutation } from './mutation.js';

/** What a run of the tests needs. */
const COPIED = [
  'lib',
  'test',
  'sample',
  'package.json',
  'jest.config.mjs',
  'tsconfig.json',
  'nest-cli.json',
];

/** A copy of the repository in which lines may be broken. */
export class Workspace {
  readonly directory: string;

  /** @param source the top of the repository; what Git ignores there is not copied */
  constructor(source: string) {
    this.directory = mkdtempSync(join(tmpdir(), 'nestjs-db-context-mutations-'));
    const listed = execFileSync(
      'git',
      ['ls-files', '-z', '--cached', '--others', '--exclude-standard', '--', ...COPIED],
      { cwd: source, encoding: 'utf8' },
    );
    for (const file of new Set(listed.split('\0').filter((each) => each !== ''))) {
      cpSync(join(source, file), join(this.directory, file));
    }
    symlinkSync(join(source, 'node_modules'), join(this.directory, 'node_modules'));
  }

  /** Runs `work` while the mutation is in place. */
  async with<T>(mutation: Mutation, work: () => Promise<T>): Promise<T> {
    const path = join(this.directory, mutation.file);
    const text = readFileSync(path, 'utf8');
    writeFileSync(path, mutated(mutation, text));
    try {
      return await work();
    } finally {
      writeFileSync(path, text);
    }
  }

  remove(): void {
    rmSync(this.directory, { recursive: true, force: true });
  }
}
