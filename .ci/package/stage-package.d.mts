/** Makes the directory that is packed and published; see `stage-package.mjs`. */
export function stagePackage(directory: string, fields?: object): Promise<void>;
