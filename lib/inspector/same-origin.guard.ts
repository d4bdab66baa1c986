import { isIP } from 'node:net';

import {
  ForbiddenException,
  Inject,
  Injectable,
  type CanActivate,
  type ExecutionContext,
} from '@nestjs/common';

import type { HttpRequest } from '../transport/http-exchange.js';
import { INSPECTOR_SETTINGS, type InspectorSettings } from './inspector-options.js';

/**
 * Lets nobody read the page but people who opened it themselves: not a page of another site, by a request
 * across origins or by a name of its own that it makes point at this server (DNS rebinding).
 */
@Injectable()
export class SameOriginGuard implements CanActivate {
  readonly #hosts: readonly string[];

  constructor(@Inject(INSPECTOR_SETTINGS) { hosts }: InspectorSettings) {
    this.#hosts = hosts.map((host) => host.toLowerCase());
  }

  /** @throws ForbiddenException */
  canActivate(executionContext: ExecutionContext): boolean {
    const { headers = {} } = executionContext.switchToHttp().getRequest<HttpRequest>();
    // HTTP/2 has its own name for it.
    const host = headers['host'] ?? headers[':authority'];
    const name = hostNameOf(typeof host === 'string' ? `http://${host}` : undefined);
    if (name === undefined || !this.#isKnown(name)) {
      throw new ForbiddenException(
        `The inspector is not shown by the name ${name ?? '(none)'}. If it is one of this server, add it to ` +
          'hosts in the options of DbContextInspectorModule.',
      );
    }
    const { origin } = headers;
    if (origin !== undefined && hostOf(origin) !== host) {
      throw new ForbiddenException('The inspector answers no request of another origin.');
    }
    const isForeign = ['cross-site', 'same-site'].includes(String(headers['sec-fetch-site']));
    // A link elsewhere may lead to the page; nothing elsewhere may load it.
    if (isForeign && headers['sec-fetch-mode'] !== 'navigate') {
      throw new ForbiddenException('The inspector answers no request of another site.');
    }
    return true;
  }

  /** Only names can be made to point elsewhere, and `localhost` is no name that anybody else gives away. */
  #isKnown(name: string): boolean {
    const isLocal = name === 'localhost' || name.endsWith('.localhost');
    return isLocal || isIP(name.replace(/^\[|\]$/g, '')) !== 0 || this.#hosts.includes(name);
  }
}

function hostNameOf(url: string | undefined): string | undefined {
  return url !== undefined && URL.canParse(url) ? new URL(url).hostname : undefined;
}

function hostOf(origin: string | readonly string[]): string | undefined {
  const url = String(origin);
  return URL.canParse(url) ? new URL(url).host : undefined;
}
