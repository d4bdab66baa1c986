import { sourcePages } from '../.vitepress/source-files.js';

export default { paths: sourcePages };
