import { blocksPlugin } from './plugins/blocks';
import { cancelPlugin } from './plugins/cancel';
import { cellPlugin } from './plugins/cell';
import { cellLinesPlugin } from './plugins/celllines';
import { drawerPlugin } from './plugins/drawer';
import { failuresPlugin } from './plugins/failures';
import { graphPlugin } from './plugins/graph';
import { leasePlugin } from './plugins/lease';
import { overviewPlugin } from './plugins/overview';
import { panelPlugin } from './plugins/panel';
import { retryPlugin } from './plugins/retry';
import { runsPlugin } from './plugins/runs';
import { tasksPlugin } from './plugins/tasks';
import { timelinePlugin } from './plugins/timeline';

export default [
  runsPlugin,
  panelPlugin,
  overviewPlugin,
  graphPlugin,
  timelinePlugin,
  tasksPlugin,
  failuresPlugin,
  blocksPlugin,
  drawerPlugin,
  cancelPlugin,
  cellPlugin,
  cellLinesPlugin,
  retryPlugin,
  leasePlugin
];
