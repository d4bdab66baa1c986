import type { ApplicationConfig } from '@nestjs/core';

/** Which requests are those of the page of the inspector. */
export class OwnPaths {
  readonly #path: string;
  readonly #config: Pick<ApplicationConfig, 'getGlobalPrefix'>;

  constructor(path: string, config: Pick<ApplicationConfig, 'getGlobalPrefix'>) {
    this.#path = path;
    this.#config = config;
  }

  /** The path of the page, with the prefix of the application. */
  get path(): string {
    return this.#prefix + this.#path;
  }

  /** @param path of a request, without its query */
  has(path: string): boolean {
    const asked = normal(path);
    return this.#all.some((own) => asked === own || asked.startsWith(`${own}/`));
  }

  /** Whether it is the path of the page, with a slash at its end. */
  isSlashed(path: string): boolean {
    return this.#all.some((own) => normal(path) === `${own}/`);
  }

  get #all(): readonly string[] {
    return [this.#path, this.path].map(normal);
  }

  // It is known when the application listens; and it may leave single paths out.
  get #prefix(): string {
    return `/${this.#config.getGlobalPrefix()}`.replace(/^\/+/, '/').replace(/\/$/, '');
  }
}

/** Servers also find a route by other spellings: Express by capital letters, Fastify by escapes. */
function normal(path: string): string {
  try {
    return decodeURIComponent(path).toLowerCase();
  } catch {
    return path.toLowerCase();
  }
}
