/**
 * The services of the extension. They are small interfaces, so that other extensions can use them, too.
 *
 * IConnection carries messages, IRun is the state of one run, IRuns selects the run of the notebook in front, and
 * IParslPanel is the side panel with its views.
 */
import { Token } from '@lumino/coreutils';
import type { IDisposable } from '@lumino/disposable';
import type { ISignal } from '@lumino/signaling';
import type { Widget } from '@lumino/widgets';

import type {
  Reply,
  Request,
  IBlockActionRequest,
  IBlockRow,
  IBlockOutput,
  ICellCounts,
  IFailureGroupRow,
  IManagerRow,
  INotice,
  IOverview,
  ITaskPageRequest,
  IRunInfo,
  ITaskDetail,
  ITaskPage,
  ITimeline,
  ITimelineRequest,
  IWorkerRow,
  ScalePoint
} from './protocol';

/**
 * The link between a kernel and this page: the page connects; the kernel has no run; messages arrive; the kernel has left
 * its run, or the kernel or the network has failed; the kernel has closed the link because its run ended.
 */
export type Link = 'connecting' | 'absent' | 'live' | 'lost' | 'closed';

/** What a kernel without a run says about itself. */
export interface IInspection {
  readonly python: boolean;
  /** Whether the kernel can import parslab. */
  readonly installed: boolean;
  /** The live run of the notebook that the kernel can continue; empty if there is none. */
  readonly run: string;
}

/** The way by which messages reach the run: through the kernel of the notebook, or through the Jupyter server. */
export type Route = 'kernel' | 'server';

/** The part that keeps the panel from the route through the Jupyter server. */
export interface IMissingHalf {
  /**
   * The server has no parslab; the server, or this page, has an older one; the run or the server refuses the route; the
   * process of the run has gone, and only its kernel can start it again.
   */
  readonly half: 'server' | 'old-server' | 'page' | 'run' | 'process';
  /** The sentence with which the route is refused; empty if it is not. */
  readonly text: string;
}

/** Carries the messages of the panel protocol between one kernel and this page. */
export interface IConnection extends IDisposable {
  readonly link: Link;
  /** Why the link is lost (`offline`, `restarted`, `dead`, `left`) or closed (a sentence); may be empty. */
  readonly reason: string;
  readonly linkChanged: ISignal<IConnection, Link>;
  readonly received: ISignal<IConnection, Reply>;
  /** The route that messages take now. */
  readonly route: Route;
  /** Why the route through the Jupyter server cannot be used; null if it can, or is not tried yet. */
  readonly missing: IMissingHalf | null;
  /** How the kernel has gone (`restarted`, `dead`, `left`); empty if it has not, as far as the page knows. */
  readonly kernelGone: string;
  /** Why the kernel has no run; null while `find` has not found out. */
  readonly inspection: IInspection | null;
  readonly inspected: ISignal<IConnection, void>;
  /** Resolves with whether a SnapshotRequest makes sense: the kernel has a run, or it is too busy to say. */
  find(): Promise<boolean>;
  /** Resolves when the kernel accepts the request; rejects with a sentence otherwise. */
  send(request: Request): Promise<void>;
}

/** The status of a run in the panel: no run, requested, up to date, kernel or network lost, or ended. */
export type RunStatus = 'connecting' | 'none' | 'waiting' | 'live' | 'lost' | 'ended';

/** A task as a node of the graph. */
export interface INode {
  readonly id: number;
  readonly app: string;
  state: string;
  deps: readonly number[];
}

/** What one message changed. */
export interface IRunChange {
  /** Whether everything may have changed, so that a view must start again. */
  readonly reset: boolean;
  /** Tasks that are new, or have new dependencies. */
  readonly added: readonly number[];
  /** Tasks whose state changed. */
  readonly moved: readonly number[];
}

/** The state of the run of one kernel, as the last message has left it. */
export interface IRun extends IDisposable {
  readonly status: RunStatus;
  /** A sentence that explains the status; empty if the status needs none. */
  readonly reason: string;
  /** Identifies the run among all runs, also those of one kernel; undefined until the first Snapshot. */
  readonly id: string | undefined;
  readonly info: IRunInfo | null;
  readonly overview: IOverview | null;
  /** Seconds since the epoch on the kernel's clock; between two messages, this page's clock continues it. */
  readonly now: number;
  /** Converts a time of the kernel's clock, which never jumps, to what the wall clock showed then. */
  wallTime(time: number): number;
  readonly nodes: ReadonlyMap<number, INode>;
  readonly hidden: number;
  readonly workers: ReadonlyMap<string, IWorkerRow>;
  /** By executor and block id: `htex/0`. */
  readonly blocks: ReadonlyMap<string, IBlockRow>;
  readonly managers: ReadonlyMap<string, IManagerRow>;
  /** The numbers of blocks, workers and waiting tasks since the run began; empty without blocks. */
  readonly scaling: readonly ScalePoint[];
  readonly notices: readonly INotice[];
  /** Groups of failed tasks by number, in the order of their first failure. */
  readonly failures: ReadonlyMap<number, IFailureGroupRow>;
  /** Whether any task has failed while this page followed the run, even if it was retried. */
  readonly hasFailed: boolean;
  /** Finished tasks per second in the last minute: one number a second, the newest last. */
  readonly rates: readonly number[];
  readonly changed: ISignal<IRun, IRunChange>;
  page(query: Omit<ITaskPageRequest, 'type' | 'request_id'>): Promise<ITaskPage>;
  /** The numbers of tasks that these cells of the notebook have called, by state; cells without tasks are left out. */
  cellCounts(cells: readonly string[]): Promise<ICellCounts>;
  detail(task: number): Promise<ITaskDetail>;
  /** When the workers were busy, reduced to what a picture of a width can show. */
  timeline(query: Omit<ITimelineRequest, 'type' | 'request_id'>): Promise<ITimeline>;
  /** Why the kernel has no run, if the status is `none` and the kernel has said so. */
  readonly inspection: IInspection | null;
  /** The name of the live run that the kernel of the notebook, or a new one, can continue; empty if there is none. */
  readonly resumable: string;
  /**
   * When the run ends if no kernel attaches, as far as the panel knows: infinite if it has other clients, null while its
   * kernel is connected.
   */
  readonly expires: number | null;
  /** The route that messages of this run take. */
  readonly route: Route;
  /** Why the route through the Jupyter server cannot be used; null if it can, or is not tried yet. */
  readonly missing: IMissingHalf | null;
  /** How the kernel of the run has gone (`restarted`, `dead`, `left`); empty if it is there. */
  readonly kernelGone: string;
  /** Cancels these tasks, or all unfinished ones. Like all commands, it resolves with a sentence about the result. */
  cancel(tasks: readonly number[] | 'all'): Promise<string>;
  /** Cancels the tasks of a cell (`In [3]`) of this client; by default, of the notebook of this page. */
  cancelCell(cell: string, client?: number): Promise<string>;
  /** Retries these tasks or all failed tasks; `app` limits both to one app. */
  retry(tasks: readonly number[] | 'failed', app?: string): Promise<string>;
  /** Retries all tasks of a group of failures. */
  retryGroup(failures: number): Promise<string>;
  /** The text of a cell that calls the function of a task with its arguments. */
  reproducer(task: number): Promise<string>;
  /** Explains why a task ran, or which task computed its result. */
  explain(task: number): Promise<string>;
  /** Sets how many seconds the run outlives its last client; with 0, it ends with that client. */
  keep(seconds: number): Promise<string>;
  /** The last lines of the output of the job of a block. */
  blockOutput(executor: string, block: string): Promise<IBlockOutput>;
  /** Scales an executor to this number of blocks. */
  commandBlock(executor: string, block: string, action: IBlockActionRequest['action']): Promise<string>;
  scale(executor: string, blocks: number): Promise<string>;
}

/** Selects the run that the panel shows. */
export interface IRuns {
  /** The run of the notebook in front; null when there is no notebook with a kernel. */
  readonly current: IRun | null;
  readonly currentChanged: ISignal<IRuns, IRun | null>;
  /** The run of this kernel; null if no open notebook has the kernel. */
  of(kernel: string): IRun | null;
  /** Whether the panel is visible: only then runs send deltas. */
  visible: boolean;
}

export const IRuns = new Token<IRuns>('parslab:IRuns', 'The Parsl runs of the open notebooks.');

/** The task that the drawer shows and that the graph and the table mark. */
export interface ISelection {
  readonly task: number | null;
  readonly changed: ISignal<ISelection, number | null>;
  select(task: number | null): void;
}

/** A tab of the side panel. */
export interface IView {
  /** An id that never changes, such as `graph`. */
  readonly id: string;
  readonly label: string;
  readonly rank: number;
  readonly content: Widget;
  /** Whether the view has something to show; a view without this function always has. */
  readonly fits?: (run: IRun | null) => boolean;
}

/** The side panel. */
export interface IParslPanel {
  readonly selection: ISelection;
  addView(view: IView): void;
  /** The widget below (or beside) the tabs while a task is selected. */
  setDrawer(drawer: Widget): void;
  /** Brings the panel to the front, with this view if given. */
  open(view?: string): void;
}

export const IParslPanel = new Token<IParslPanel>('parslab:IParslPanel', 'The side panel of Parsl.');
