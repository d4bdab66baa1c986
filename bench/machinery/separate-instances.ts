import { registerHooks } from 'node:module';

const PARAMETER = 'instance';
const SEPARATE = new URL('../app/', import.meta.url).href;

/**
 * Gives each importer of `../app/x.js?instance=n` its own copies of the modules in `app`. MikroORM writes
 * values of one instance into the prototype of an entity, and V8 optimizes a function for the types that
 * it has seen, so the applications must share neither an entity nor a controller.
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
