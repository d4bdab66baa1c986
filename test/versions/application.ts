import { cp, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import ts from 'typescript';

import { run } from '../package/run.mjs';
import type { Combination } from './combinations.js';

const SOURCES = fileURLToPath(new URL('app', import.meta.url));

/** One promise of the application, and what was otherwise. */
export interface Finding {
  readonly title: string;
  readonly failure?: string;
}

/** An application in a folder of its own, with nothing of this repository but the packed library. */
export class Application {
  readonly #directory: string;
  readonly #combination: Combination;

  constructor(directory: string, combination: Combination) {
    this.#directory = directory;
    this.#combination = combination;
  }

  /**
   * Installs the packages as a user does: npm refuses what the peers of a package do not allow.
   *
   * @param tarball path of the packed library
   */
  async install(tarball: string): Promise<void> {
    const { modules, packages } = this.#combination;
    await mkdir(this.#directory, { recursive: true });
    const manifest = {
      private: true,
      type: modules === 'esm' ? 'module' : 'commonjs',
      dependencies: {
        'nestjs-db-context': `file:${tarball}`,
        'reflect-metadata': '^0.2.0',
        rxjs: '^7.8.0',
        ...packages,
      },
      devDependencies: { '@types/node': '^24.0.0', '@types/pg': '^8.0.0' },
      allowScripts: { node: true },
    };
    await writeFile(join(this.#directory, 'package.json'), JSON.stringify(manifest));
    await run(
      'npm',
      ['install', '--prefer-offline', '--no-audit', '--no-fund', '--loglevel=error'],
      this.#directory,
    );
  }

  /**
   * Compiles the application with the types of the packages that are installed.
   *
   * @throws Error what the compiler says
   */
  async compile(): Promise<void> {
    const sources = join(this.#directory, 'src');
    await cp(SOURCES, sources, { recursive: true });
    if (this.#combination.hasPeers === undefined) {
      await rm(join(sources, 'peers.ts'));
    }
    const names = ['main.ts', ...(this.#combination.hasPeers ? ['peers.ts'] : [])];
    const program = ts.createProgram(
      names.map((name) => join(sources, name)),
      {
        target: ts.ScriptTarget.ES2023,
        module: ts.ModuleKind.NodeNext,
        moduleResolution: ts.ModuleResolutionKind.NodeNext,
        rootDir: sources,
        outDir: join(this.#directory, 'dist'),
        strict: true,
        exactOptionalPropertyTypes: true,
        experimentalDecorators: true,
        emitDecoratorMetadata: true,
        skipLibCheck: true,
        types: ['node'],
        typeRoots: [join(this.#directory, 'node_modules', '@types')],
      },
    );
    const { diagnostics } = program.emit();
    const errors = [...ts.getPreEmitDiagnostics(program), ...diagnostics];
    if (errors.length > 0) {
      throw new Error(
        ts.formatDiagnostics(errors, {
          getCanonicalFileName: (name) => name,
          getCurrentDirectory: () => this.#directory,
          getNewLine: () => '\n',
        }),
      );
    }
  }

  /** Runs the application, on the Node of the combination, to its end. */
  async prove(databaseUrl: string): Promise<Finding[]> {
    const { server, hasPeers } = this.#combination;
    const output = await run(
      join(this.#directory, 'node_modules', '.bin', 'node'),
      [join(this.#directory, 'dist', 'main.js')],
      this.#directory,
      {
        ...process.env,
        DATABASE_URL: databaseUrl,
        SERVER: server,
        ...(hasPeers && { PEERS: 'yes' }),
      },
    );
    return output
      .split('\n')
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line) as Finding);
  }

  /** The versions that npm has chosen, for people. */
  async describe(): Promise<string> {
    const { modules, server, hasPeers } = this.#combination;
    const [nest, cls, orm, node] = await Promise.all(
      ['@nestjs/core', 'nestjs-cls', '@mikro-orm/core', 'node'].map((name) =>
        this.#versionOf(name),
      ),
    );
    return [
      `Nest ${nest}`,
      modules === 'esm' ? 'ESM' : 'CommonJS',
      server === 'express' ? 'Express' : 'Fastify',
      `nestjs-cls ${cls}`,
      `MikroORM ${orm}`,
      `Node ${node}`,
      ...(hasPeers ? ['optional peers'] : []),
    ].join(', ');
  }

  async #versionOf(name: string): Promise<string> {
    const text = await readFile(
      join(this.#directory, 'node_modules', name, 'package.json'),
      'utf8',
    );
    return (JSON.parse(text) as { version: string }).version;
  }
}
