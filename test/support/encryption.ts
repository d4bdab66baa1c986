import { execFile } from 'node:child_process';
import { chmod, chown, copyFile, mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { Client } from 'pg';

import { waitFor } from './wait-for.js';

/** What a server shows to its clients; it is self-signed, so it is its own authority. */
export interface Certificate {
  /** In PEM. */
  readonly cert: string;
  /** In PEM. */
  readonly key: string;
}

/**
 * Makes a certificate for `localhost` and 127.0.0.1 that is valid for two days, with the command
 * `openssl`: Node has nothing that makes one.
 */
async function makeCertificate(directory: string): Promise<void> {
  const options =
    'req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -days 2 -subj /CN=localhost ' +
    '-addext subjectAltName=DNS:localhost,IP:127.0.0.1';
  const files = ['-keyout', join(directory, 'server.key'), '-out', join(directory, 'server.crt')];
  await promisify(execFile)('openssl', [...options.split(' '), ...files]);
}

/**
 * Makes a server of this machine speak TLS, if it does not yet. Specs that do so at the same time get the
 * same certificate.
 *
 * @param url of a superuser
 */
export async function encrypt(url: string): Promise<Certificate> {
  const client = new Client({ connectionString: url });
  await client.connect();
  const show = async (setting: string): Promise<string> => {
    const { rows } = await client.query<Record<string, string>>(`show ${setting}`);
    return rows[0]![setting]!;
  };
  try {
    await client.query(`select pg_advisory_lock(hashtext('encrypt'))`);
    const data = await show('data_directory');
    if ((await show('ssl')) === 'off') {
      await installCertificate(data);
      await client.query('alter system set ssl = on');
      await client.query('select pg_reload_conf()');
      await waitFor(async () => (await show('ssl')) === 'on', { what: 'the server to speak TLS' });
    }
    const read = (file: string): Promise<string> => readFile(join(data, file), 'utf8');
    return { cert: await read('server.crt'), key: await read('server.key') };
  } finally {
    await client.end();
  }
}

/** Puts a new certificate where a server looks for it, in a form that it accepts. */
async function installCertificate(data: string): Promise<void> {
  const { uid, gid } = await stat(data);
  const directory = await mkdtemp(join(tmpdir(), 'nestjs-db-context-tls-'));
  try {
    await makeCertificate(directory);
    for (const file of ['server.crt', 'server.key']) {
      await copyFile(join(directory, file), join(data, file));
      await chmod(join(data, file), 0o600);
      await chown(join(data, file), uid, gid);
    }
  } finally {
    await rm(directory, { recursive: true });
  }
}
