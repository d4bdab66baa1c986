/**
 * Packs the built library and checks the tarball as its users will meet it: outside of this
 * repository, with nothing beside it but the peers that package.json requires. Compares its public
 * API with the reports in test/types/api. Needs `dist`, so it runs after `npm run build`; needs no
 * network. Prints one line per check and ends with exit code 1 at the first that fails.
 */
import { readFileSync } from 'node:fs';
import {
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  realpath,
  rm,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stagePackage } from '../../.ci/package/stage-package.mjs';
import { generateApiReports } from './api-report.mjs';
import { CONSUMER_MODULE, CONSUMER_TYPES, EXPORTS, SUBPATHS } from './consumers.mjs';
import { findingsIn } from './declarations.mjs';
import { createSharedHost, PackageTypes } from './package-types.mjs';
import { followLinks } from './packed-links.mjs';
import { findingsOfReports } from './report-findings.mjs';
import { CommandFailed, run } from './run.mjs';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const BIN = join(ROOT, 'node_modules', '.bin');
const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));

const REQUIRED_FILES = [
  'package.json',
  'README.md',
  'LICENSE',
  // To which the last line of each error leads.
  'docs/errors.md',
  'dist/index.js',
  'dist/index.d.ts',
  // What is no output of the compiler.
  'dist/inspector/page/page.js',
  'dist/inspector/page/page.css',
  'dist/inspector/page/icon.svg',
];
/** A map of sources that are not packed would lead nowhere. */
const EXPECTED_FILES = /^(dist\/.*\.(js|d\.ts|css|svg)|docs\/[\w-]+\.md)$/;
/** Stands for the address of the repository, which package.json may not have yet. */
const REPOSITORY = 'https://example.com/owner/name';
/** The most that a download may be, in bytes. */
const MAX_TARBALL_SIZE = 310_000;
/**
 * What the public types must not mention: optional, or the business of one HTTP server. Not here is
 * `@mikro-orm/postgresql`, which they import where it is installed; that they do without it is proved by
 * the strict consumer, which has none.
 */
const HIDDEN_FROM_TYPES = [
  '@mikro-orm/sql',
  'kysely',
  'pg',
  'express',
  'fastify',
  '@nestjs/bullmq',
  '@nestjs/cqrs',
  '@nestjs/event-emitter',
  '@nestjs/graphql',
  '@nestjs/terminus',
  '@opentelemetry/api',
  'bullmq',
  'graphql',
  'prom-client',
];
/** A project that uses the package: its tarball unpacked, the required peers linked beside it. */
async function installInto(directory, tarball) {
  const modules = join(directory, 'node_modules');
  const target = join(modules, manifest.name);
  await mkdir(target, { recursive: true });
  await run('tar', ['-xzf', tarball, '-C', target, '--strip-components=1']);

  const optional = Object.keys(manifest.peerDependenciesMeta ?? {});
  const required = Object.keys(manifest.peerDependencies).filter(
    (name) => !optional.includes(name),
  );
  const dependencies = Object.keys(manifest.dependencies ?? {});
  for (const name of [...required, ...dependencies, '@types/node']) {
    await linkInto(directory, name);
  }
  await writeFile(join(directory, 'package.json'), '{ "type": "module", "private": true }');
}

async function linkInto(directory, name) {
  const link = join(directory, 'node_modules', name);
  await mkdir(dirname(link), { recursive: true });
  await symlink(join(ROOT, 'node_modules', name), link, 'junction');
  return link;
}

/** The directory of the package in a project, with a separator at its end. */
function installedIn(directory) {
  return join(directory, 'node_modules', manifest.name, sep);
}

async function pack(directory) {
  const staged = join(directory, 'staged');
  await stagePackage(staged);
  const [packed] = JSON.parse(
    await run('npm', ['pack', '--json', '--pack-destination', directory], staged),
  );
  return {
    tarball: join(directory, packed.filename),
    size: packed.size,
    files: packed.files.map(({ path }) => path),
  };
}

/** Imports a subpath, and compiles a use of it, where its peers are the only optional ones. */
async function checkSubpath(consumer, host, { subpath, peer, name, types }) {
  const links = await Promise.all([peer].flat().map((each) => linkInto(consumer, each)));
  try {
    const file = join(consumer, `${subpath}.mjs`);
    await writeFile(
      file,
      `import { ${name} } from '${manifest.name}/${subpath}';
       if (${name} === undefined) throw new Error('not exported: ${name}');`,
    );
    await run(process.execPath, [file], consumer);
    const source = join(consumer, `${subpath}.ts`);
    await writeFile(source, types);
    const { errors } = new PackageTypes(source, installedIn(consumer), host);
    if (errors.length > 0) fail(errors.join('\n'));
  } finally {
    await Promise.all(links.map((link) => rm(link)));
  }
}

/**
 * Looks at the classes that all entry points export: a second copy of a module would make errors of the
 * library that are no `DbContextError`, and a bundler that gives a class another name changes what errors
 * and Nest's messages call it.
 */
async function checkClasses() {
  const specifiers = Object.keys(manifest.exports)
    .filter((subpath) => subpath !== './package.json')
    .map((subpath) => subpath.replace(/^\./, manifest.name));
  const entries = await Promise.all(specifiers.map((specifier) => import(specifier)));
  const exported = entries.flatMap((entry) => Object.entries(entry));
  const classes = exported.filter(
    ([, value]) => typeof value === 'function' && /^class\b/.test(String(value)),
  );
  const renamed = classes.filter(([name, { name: own }]) => name !== own);
  if (renamed.length > 0) {
    fail(`other names: ${renamed.map(([name, { name: own }]) => `${name} is ${own}`).join(', ')}`);
  }
  const { DbContextError } = entries[0];
  const errors = classes.filter(([name]) => name.endsWith('Error') && name !== DbContextError.name);
  const others = errors.filter(([, value]) => !(value.prototype instanceof DbContextError));
  if (errors.length < 10 || others.length > 0) {
    fail(`no ${DbContextError.name}: ${others.map(([name]) => name).join(', ')}`);
  }
  return `${classes.length} classes, ${errors.length} of them errors`;
}

/** Follows the links of the package, without an address of the repository and with one. */
async function checkLinks(directory) {
  const repository = { type: 'git', url: `git+${REPOSITORY}.git` };
  const nowhere = join(directory, 'of-no-repository');
  const published = join(directory, 'of-a-repository');
  await stagePackage(nowhere, { repository: undefined });
  await stagePackage(published, { repository });
  const [within, all] = await Promise.all([
    followLinks(nowhere, { root: ROOT }),
    followLinks(published, { root: ROOT, address: REPOSITORY }),
  ]);
  const dead = [...within.dead, ...all.dead];
  if (dead.length > 0) fail(`dead links:\n${dead.join('\n')}`);
  if (within.links + all.intoRepository !== all.links || all.intoRepository === 0) {
    fail(`${all.links} links, of which ${all.intoRepository} into the repository`);
  }
  return `${within.links} within, ${all.intoRepository} into the repository`;
}

/** Compares the API of the build with the reports that are checked in. */
async function checkApiReports() {
  const directory = join(ROOT, 'test', 'types', 'api');
  const reports = await generateApiReports(ROOT);
  const findings = findingsOfReports(reports);
  if (findings.length > 0) fail(findings.join('\n'));
  const checkedIn = new Map();
  for (const name of await readdir(directory)) {
    checkedIn.set(name, await readFile(join(directory, name), 'utf8'));
  }
  const names = new Set([...reports.keys(), ...checkedIn.keys()]);
  const different = [...names].filter((name) => reports.get(name) !== checkedIn.get(name));
  if (different.length > 0) {
    fail(
      `test/types/api/ is not what the build exports: ${different.join(', ')}. If the change of ` +
        'the API is meant, run `npm run api:report` and look at the difference that Git shows.',
    );
  }
  return `${reports.size} entry points`;
}

class CheckFailed extends Error {}

function fail(reason) {
  throw new CheckFailed(reason);
}

async function check(title, work) {
  try {
    const remark = await work();
    console.log(`ok    ${title}${remark === undefined ? '' : ` (${remark})`}`);
  } catch (error) {
    console.log(`FAIL  ${title}`);
    throw error;
  }
}

async function checkAll(directory) {
  let tarball = '';
  let size = 0;
  let files = [];
  await check('npm pack', async () => {
    ({ tarball, size, files } = await pack(directory));
    return `${files.length} files`;
  });
  await check(`the tarball has less than ${MAX_TARBALL_SIZE} bytes`, () => {
    if (size >= MAX_TARBALL_SIZE) fail(`it has ${size}`);
    return `${size}`;
  });
  await check('the tarball holds what it should and nothing else', () => {
    const missing = REQUIRED_FILES.filter((file) => !files.includes(file));
    if (missing.length > 0) fail(`missing: ${missing.join(', ')}`);
    const odd = files.filter(
      (file) => !EXPECTED_FILES.test(file) && !REQUIRED_FILES.includes(file),
    );
    if (odd.length > 0) fail(`not expected: ${odd.join(', ')}`);
  });
  await check('the links of its pages lead to what is packed or into the repository', () =>
    checkLinks(directory),
  );
  await check(
    'its declarations have no internal members and no names that a tool made',
    async () => {
      const findings = await findingsIn(join(ROOT, 'dist'));
      if (findings.length > 0) fail(findings.join('\n'));
    },
  );
  await check('publint --strict', () =>
    run(join(BIN, 'publint'), [tarball, '--strict']).then(() => undefined),
  );
  await check('attw --profile esm-only', () =>
    run(join(BIN, 'attw'), [tarball, '--profile', 'esm-only']).then(() => undefined),
  );

  await check('the entry points share their classes, which are named as they are exported', () =>
    checkClasses(),
  );

  const consumer = join(directory, 'consumer');
  await check('installs beside its required peers', () => installInto(consumer, tarball));
  await check(`plain node imports ${EXPORTS.join(', ')}`, async () => {
    const file = join(consumer, 'consumer.mjs');
    await writeFile(file, CONSUMER_MODULE);
    await run(process.execPath, [file], consumer);
  });

  const source = join(consumer, 'consumer.ts');
  await writeFile(source, CONSUMER_TYPES);
  const host = createSharedHost();
  const types = new PackageTypes(source, installedIn(consumer), host);
  await check(`the public types import none of ${HIDDEN_FROM_TYPES.join(', ')}`, () => {
    const leaks = types.imports.filter(({ specifier }) =>
      HIDDEN_FROM_TYPES.some((name) => specifier === name || specifier.startsWith(`${name}/`)),
    );
    if (leaks.length > 0) {
      fail(leaks.map(({ file, specifier }) => `${file} imports ${specifier}`).join('\n'));
    }
    return `${types.files} files`;
  });
  await check('a strict consumer compiles, with the library checked', () => {
    const { errors } = types;
    if (errors.length > 0) fail(errors.join('\n'));
  });
  await check('the public API is the one that test/types/api reports', checkApiReports);
  for (const each of SUBPATHS) {
    await check(
      `${manifest.name}/${each.subpath} needs ${[each.peer].flat().join(', ') || 'no peer'} and no other optional peer`,
      () => checkSubpath(consumer, host, each),
    );
  }
}

// The real path, because TypeScript names files by it and the temporary directory may be a link.
const directory = await realpath(await mkdtemp(join(tmpdir(), 'nestjs-db-context-package-')));
try {
  await checkAll(directory);
} catch (error) {
  console.error(
    error instanceof CheckFailed || error instanceof CommandFailed ? error.message : error,
  );
  process.exitCode = 1;
} finally {
  await rm(directory, { recursive: true, force: true });
}
