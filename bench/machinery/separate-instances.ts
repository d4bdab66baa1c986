import { registerHooks } from 'node:module';

const PARAMETER = 'instance';
const SEPARATE = new URL('../app/', import.meta.url).href;

/**
 * Gives each importer of `../app/x.js?instance=n` modules of its own, as far as they lie in `app`.
 * MikroORM writes into the prototype of an entity what belongs to one ORM, and V8 compiles a function
 * for what it has met: the applications are to share neither an entity nor a controller.
 */
export function separateInstances(): void {
  registerHooks({
    resolve: (specifier, context, nextResolve) => {
      const resolved = nextResolve(specifier, context);
      const { parentURL } = context;
      const instance =
        parentURL === undefined ? null : new URL(parentURL).searchParams.get(PARAMETER);
      if (instance === null || !resolved.url.startsWith(SEPARATE)) {
        return resolved;
      }
      const url = new URL(resolved.url);
      url.searchParams.set(PARAMETER, instance);
      return { ...resolved, url: url.href };
    },
  });
}
