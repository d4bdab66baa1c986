// oxlint-disable-next-line import/no-unassigned-import -- a style sheet has nothing to assign
import './style.css';
// The fonts of the reader's system: the site brings none.
export { default } from 'vitepress/theme-without-fonts';
