/** The icons of the extension. */
import { LabIcon } from '@jupyterlab/ui-components';

/** A small graph: three tasks depend on one, and one task depends on these three. */
const GRAPH = `<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 24 24">
  <g class="jp-icon3" fill="none" stroke="#616161" stroke-width="1.6">
    <path d="M12 7v10M10.4 6.3 5.8 10.2M13.6 6.3l4.6 3.9M5.8 13.8l4.6 3.9M18.2 13.8l-4.6 3.9"/>
  </g>
  <g class="jp-icon3" fill="#616161">
    <circle cx="12" cy="4.6" r="2.6"/><circle cx="4.4" cy="12" r="2.6"/><circle cx="12" cy="12" r="2.6"/>
    <circle cx="19.6" cy="12" r="2.6"/><circle cx="12" cy="19.4" r="2.6"/>
  </g>
</svg>`;

/** A stop symbol in the frame of a cell. */
const CANCEL_CELL = `<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 24 24">
  <g fill="none">
    <path class="jp-icon3" stroke="#616161" stroke-width="1.6" d="M7.5 4.8h13v14.4h-13z"/>
  </g>
  <path class="jp-icon3" fill="#616161" d="M2.6 4h2.2v16H2.6zM10.6 8.6h6.8v6.8h-6.8z"/>
</svg>`;

export const cancelCellIcon = new LabIcon({ name: 'parslab:cancel-cell', svgstr: CANCEL_CELL });
export const parslIcon = new LabIcon({ name: 'parslab:parsl', svgstr: GRAPH });
