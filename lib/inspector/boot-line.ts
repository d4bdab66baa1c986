import { isIPv6 } from 'node:net';

import { Logger } from '@nestjs/common';

/** The members of Node's servers that this file uses. */
export interface ListeningServer {
  once(event: 'listening', listener: () => void): unknown;
  address(): { readonly address: string; readonly port: number } | string | null;
  /** Only servers of TLS have it. */
  readonly setSecureContext?: unknown;
}

/**
 * Says in the log where the page is, once its server listens.
 *
 * @param path the path of the page, which is known then
 */
export function announceAt(
  server: ListeningServer,
  path: () => string,
  { hasGuard }: { readonly hasGuard: boolean },
): void {
  server.once('listening', () => {
    const logger = new Logger('DbContextInspectorModule');
    const at = `The inspector is at ${originOf(server)}${path()}`;
    if (hasGuard) {
      logger.log(`${at}.`);
    } else {
      logger.warn(
        `${at}, without a guard of its own: everybody who reaches this port can read it.`,
      );
    }
  });
}

function originOf(server: ListeningServer): string {
  const address = server.address();
  if (address === null || typeof address === 'string') {
    return address ?? '';
  }
  const { address: ip, port } = address;
  const isAnywhere = ip === '::' || ip === '0.0.0.0';
  const host = isAnywhere ? 'localhost' : isIPv6(ip) ? `[${ip}]` : ip;
  return `${server.setSecureContext === undefined ? 'http' : 'https'}://${host}:${port}`;
}
