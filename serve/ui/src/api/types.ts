/** The answers of `/flow/console/v1/`, as docs/console-api.md describes them. */

export type Status =
  | "succeeded"
  | "running"
  | "waiting"
  | "delayed"
  | "held"
  | "failed"
  | "skipped"
  | "not_started"
  | "cancelled"
  | "unfinished";

export interface Row {
  execution_id: string;
  business: string;
  feature: string;
  status: Status;
  code: string | null;
  definition_id: string | null;
  submitted_at_ms: number;
  finished_at_ms: number | null;
  parent_id: string | null;
  /** `request`, `sub_flow` or `trigger`. */
  trigger: string;
}

export interface RowPage {
  rows: Row[];
  next: string | null;
  searched_to_ms: number | null;
  unread: number;
  at_ms: number;
}

export type StoredStatus = "unfinished" | "succeeded" | "failed";

export interface Bucket {
  at_ms: number;
  unfinished: number;
  succeeded: number;
  failed: number;
}

export interface Counts {
  total: number;
  counts: Partial<Record<StoredStatus, number>>;
  /** The statuses of which there are more than were counted. */
  at_least?: StoredStatus[];
  from_ms: number | null;
  to_ms: number | null;
  step_ms: number | null;
  buckets: Bucket[];
  unfinished: Partial<Record<"running" | "waiting" | "delayed" | "held", number>> | null;
  at_ms: number;
}

export interface Progress {
  done: number;
  total: number;
}

export interface Wait {
  task?: string;
  base?: string;
  status?: Status;
  kind: string;
  since_ms?: number | null;
  until_ms?: number | null;
  detail?: Record<string, unknown> | null;
  actions?: string[];
  sentence?: string;
}

export interface Failure {
  task: string;
  base: string;
  code: string | null;
  message: string | null;
  hint: string | null;
  /** The message in plain words, null where it is none of Rill Flow's. */
  sentence: string | null;
}

export interface Summary {
  status: Status;
  seq: number;
  progress: Progress | null;
  paused: boolean;
  paused_ms: number | null;
  paused_by: string;
  wait: Wait | null;
  failure: Failure | null;
  mapping_warnings: number;
  started_ms: number | null;
  ended_ms: number | null;
  /** How long, in between, it had ended and was not redone. */
  idle_ms: number;
  quarantine?: unknown;
}

export interface Summaries {
  summaries: Record<string, Summary | null>;
  at_ms: number;
}

export interface TriggeredBy {
  trigger_id: string | null;
  how: "schedule" | "by_hand" | "event";
  scheduled_ms: number | null;
  /** Whether there is such a trigger still. */
  exists: boolean;
}

export interface Parent {
  execution_id: string;
  task: string;
  pattern?: string | null;
}

export interface Execution {
  execution_id: string;
  business: string;
  feature: string;
  definition_id: string | null;
  status: Status;
  seq: number;
  at_ms: number;
  started_ms: number | null;
  ended_ms: number | null;
  idle_ms: number;
  timeout_due_ms: number | null;
  paused: boolean;
  paused_ms: number | null;
  paused_by: string;
  cancelled: boolean;
  cancelled_by: string;
  trigger: string;
  triggered_by?: TriggeredBy;
  parent: Parent | null;
  progress: Progress | null;
  tasks: Partial<Record<Status, number>>;
  message: string | null;
  code: string | null;
  hint: string | null;
  failure: Failure | null;
  mapping_warnings: number;
  wait: Wait | null;
  context_bytes: number | null;
  trace_url: string | null;
  quarantine?: unknown;
}

export interface GroupState {
  total: number;
  started: number;
  done: number;
  counts: Partial<Record<Status, number>>;
  strip: string;
  branches: (string | null)[] | null;
  /** Said in place of the numbers: of a definition, which has no items yet. */
  note?: string;
}

export interface GraphNode {
  name: string;
  base: string;
  title: string | null;
  category: string;
  pattern: string | null;
  resource: string | null;
  status: Status;
  degraded?: boolean;
  caught?: boolean;
  key?: boolean;
  attempts: number;
  most_attempts: number | null;
  started_ms: number | null;
  ended_ms: number | null;
  idle_ms: number;
  message: string | null;
  mapping_warnings: number;
  sub_flow: string | null;
  wait: Wait | null;
  group: GroupState | null;
}

export interface GraphEdge {
  from: string;
  to: string;
  kind: "next" | "catch" | "switch";
  label: string | null;
  taken: boolean | null;
}

export interface Graph {
  route: string;
  parents: { task: string; route: string; index: number }[];
  seq: number;
  total: number;
  nodes: GraphNode[];
  edges?: GraphEdge[];
}

export interface Item {
  index: number;
  route: string;
  status: Status;
  identity: string | null;
  condition: string | null;
  progress: Progress | null;
  failure: Failure | null;
}

export interface ItemPage {
  task: string;
  total: number;
  next: number | string | null;
  items: Item[];
}

export interface Attempt {
  number: number;
  started_ms: number | null;
  ended_ms: number | null;
  error: string | null;
}

/** A reason as a code with values, of which a page makes a sentence in its language. */
export interface Reason {
  readonly code: string;
  readonly values: Readonly<Record<string, string>>;
}

export interface MappingWarning {
  mappings: string;
  number: number;
  rule: string;
  kind: string;
  reason: string;
  reasons?: readonly Reason[];
}

export interface TaskDetail {
  name: string;
  base: string;
  route: string;
  category: string;
  status: Status;
  seq: number;
  at_ms: number;
  definition: unknown;
  input: unknown;
  output: unknown;
  message: string | null;
  code: string | null;
  hint: string | null;
  /** The message in plain words, null where it is none of Rill Flow's. */
  sentence: string | null;
  attempts: Attempt[];
  attempts_left_out: number;
  warnings: MappingWarning[];
  wait: Wait | null;
  callback_url: string | null;
  sub_flow: string | null;
  /** What its function has said last about how far it is. */
  progress?: TaskProgress | null;
  dependencies: string[];
  successors: string[];
  group: GroupState | null;
}

/** The table behind `ab://<config_key>`. */
export interface AbTable {
  ab: { default_resource_name?: string; rules: { resource_name: string; rule: string }[] };
}

export interface TaskProgress {
  fraction?: number;
  message?: string;
  time: number;
}

/** What a function has printed; empty where there is no log. */
export interface TaskLog {
  ret: { streams?: { name: string; text: string; is_cut: boolean }[] };
}

export interface Segment {
  kind: "held" | "calling" | "callback" | "sub_flow" | "poll" | "delay" | "groups" | "steps";
  attempt?: number | null;
  from_ms: number;
  to_ms: number | null;
  error?: string | null;
}

export interface TimelineRow {
  name: string;
  base: string;
  category: string;
  status: Status;
  critical: boolean;
  left_out: number;
  segments: Segment[];
}

export interface Timeline {
  route: string;
  seq: number;
  from_ms: number | null;
  to_ms: number | null;
  total: number;
  next: number | string | null;
  rows: TimelineRow[];
}

export interface JournalEvent {
  seq: number;
  at_ms: number;
  kind: string;
  task: string | null;
  attempt: number | null;
  bytes: number;
  facts: Record<string, unknown> | null;
  sentence: string;
  effect: {
    changed: { task: string; from: Status | null; to: Status }[];
    more: number;
    status: string | null;
    commands: { kind: string; task?: string | null; due_ms?: number | null }[];
    context: string[];
  } | null;
  data?: unknown;
}

export interface EventPage {
  last_seq: number;
  next: string | null;
  events: JournalEvent[];
}

export interface ContextPart {
  seq: number;
  route: string;
  path: string;
  bytes: number;
  value: unknown;
  next_offset?: number | null;
}

export interface Change {
  route: string;
  path: string;
  op: "add" | "remove" | "replace";
  before?: unknown;
  after?: unknown;
  task: string | null;
}

export interface Changes {
  seq: number;
  changes: Change[];
  more?: number;
}

/** What one task wrote into a context in one event. */
export interface Write {
  seq: number;
  at_ms: number;
  kind: string;
  /** The instance; empty for the data of a submission or a redo. */
  task: string;
  route: string;
  changes: Omit<Change, "route" | "task">[];
  more: number;
}

export interface WritePage {
  last_seq: number;
  writes: Write[];
  left_out: number;
  next: string | null;
}

export interface WaitPage {
  seq: number;
  at_ms: number;
  total: number;
  next: number | string | null;
  waits: Wait[];
}

export interface StreamedExecution {
  execution_id: string;
  seq: number;
  status: StoredStatus;
  is_new: boolean;
}

export interface StreamedChanges {
  at_ms: number;
  executions: StreamedExecution[];
  more?: number;
}

export interface Feature {
  feature: string;
  aliases: { alias: string; definition_id: string; created_ms: number; updated_ms: number }[];
  gray: Record<string, string> | null;
  has_more_gray?: boolean;
}

export interface Workspaces {
  workspaces: { business: string; features: Feature[] }[];
  next: string | null;
}

export interface Version {
  definition_id: string;
  created_ms: number;
  aliases: string[];
  is_newest_of: string[];
  /** How many aliases have it besides those that are listed. */
  more_aliases: number;
}

export interface Versions {
  business: string;
  feature: string;
  versions: Version[];
  next: string | null;
}

/** How the executions of a version have ended, over all of them or the newest. */
export interface VersionCount {
  counts: Partial<Record<StoredStatus, number>>;
  total: number;
  success_rate: number | null;
  from_ms: number | null;
  is_whole: boolean;
}

export interface VersionCounts {
  flow: string;
  versions: Readonly<Record<string, VersionCount>>;
}

export interface Definition {
  descriptor_id: string;
  business: string;
  feature: string;
  definition_id: string;
  text: string;
  input_schema: unknown;
  default_context: unknown;
  search_keys?: readonly string[];
}

export interface Diff {
  from: string;
  to: string;
  added: number;
  removed: number;
  hunks: {
    from_line: number;
    to_line: number;
    lines: { op: " " | "-" | "+"; text: string }[];
  }[];
  is_exact: boolean;
}

export interface Uses {
  uses: { flow: string; alias: string; task: string; descriptor_id: string }[];
  used_by: { flow: string; alias: string; task: string }[];
  next: string | null;
}

/** As `/flow/triggers/list.json` and `show.json` have it. */
export interface Trigger {
  id: string;
  type: string;
  descriptor_id: string;
  paused: boolean;
  declared_by?: string | null;
  cron?: string | null;
  time_zone?: string | null;
  start?: string | null;
  end?: string | null;
  jitter_s?: number | null;
  overlap?: string | null;
  catch_up?: number | string | null;
  kafka?: Record<string, unknown> | null;
  webhook?: Record<string, unknown> | null;
  source?: Record<string, unknown> | null;
  path?: string | null;
  created_ms: number;
  next_ms?: number | null;
  fired: number;
  skipped: number;
  last_ms: number;
  last_execution: string;
  queued_ms: number;
  error: string;
  refused: number;
  refusals: readonly { key: string; reason: string; at_ms: number }[];
  state: string;
  state_ms: number;
  state_reason: string;
  context?: Record<string, unknown> | null;
}

export interface TriggerPage {
  triggers: Trigger[];
  next?: string | null;
}

export interface Firing extends Row {
  how: TriggeredBy["how"];
  scheduled_ms: number | null;
}

export interface FiringPage {
  rows: Firing[];
  is_whole: boolean;
  searched_to_ms: number | null;
}

export interface Quantiles {
  p50: (number | null)[];
  p99: (number | null)[];
}

/** Lists of the same length, one number for each minute. */
export interface Minutes {
  at_ms: number;
  step_ms: number;
  minutes_ms: number[];
  submitted: number[];
  succeeded: number[];
  failed: number[];
  times: Readonly<Record<"duration" | "submit" | "callback" | "lateness", Quantiles>>;
  call_failures: Readonly<Record<string, number[]>>;
  /** The processes that answered last; those of replicas begin with `replica:`. */
  processes?: string[];
}

export interface Host {
  name: string;
  state: string;
  failures: number;
  open_for_ms: number | null;
  under_way: number;
  waiting: number;
  held: number;
  rate_per_s: number | null;
}

export interface Problem {
  kind: string;
  subject: string;
  detail: Record<string, unknown>;
}

export interface Actor {
  name: string;
  node?: string | null;
  address?: string;
  pid?: number | null;
  ready?: boolean;
  partitions?: number | null;
  /** Executions in memory. */
  hot?: number;
  calls?: number;
  /** Messages that it is at, or that wait. */
  queue?: number;
  append_ms?: number;
  restarts?: number;
}

export interface Cluster {
  actors?: Actor[];
  silent?: string[];
  controller?: { reasons: { code: string; message: string }[] };
  unfinished_executions?: number;
}

export interface Operations {
  is_well: boolean;
  at_ms: number;
  problems: Problem[];
  last_hour: {
    from_ms: number | null;
    step_ms: number | null;
    buckets: Bucket[];
    counts: Partial<Record<StoredStatus, number>>;
  };
  hosts: Host[];
  dispatchers: { count: number; reached: number };
  busy: { resource: string; for_ms: number }[];
  cluster: Cluster | null;
  quarantined?: { total: number; executions: { execution_id: string; reason: string }[] };
  store?: { bytes: number };
  loops: { process: string; reached: boolean; longest_ms: number; longest_of_minute_ms: number }[];
  readiness: { ready: boolean };
}

export interface Problem {
  line: number;
  column: number;
  code: number;
  message: string;
  hint: string;
  severity: "error" | "warning";
}

export interface Draft {
  valid: boolean;
  problems: Problem[];
  more_problems: number;
  business?: string | null;
  feature?: string | null;
  input_schema?: unknown;
  graph?: DefinitionGraph;
  diff?: Omit<Diff, "from" | "to"> | null;
}

export interface DefinitionNode {
  name: string;
  title: string | null;
  category: string;
  pattern: string | null;
  resource: string | null;
  key?: boolean;
  branches?: { condition: string | null; graph: DefinitionGraph }[];
}

export interface DefinitionGraph {
  nodes: DefinitionNode[];
  edges: Omit<GraphEdge, "taken">[];
}

export interface DryCall {
  task: string;
  base: string;
  attempt: number;
  at_ms: number;
  pattern: string;
  resource: string;
  input: unknown;
  answer: "given" | "past" | "assumed" | "awaited" | "notice";
  error: string | null;
}

export interface DryRun {
  status: Status;
  stopped: "time" | "events" | "steps" | "memory" | null;
  took_ms: number;
  events: number;
  message: unknown;
  calls: DryCall[];
  more_calls: number;
  waiting: { task: string; base: string; kind: string | null }[];
  more_waiting: number;
  context: unknown;
  mapping_warnings: number;
  levels: Record<string, Graph | null>;
}

export interface AppliedRule {
  number: number;
  rule: string;
  value: unknown;
  has_value: boolean;
  kind: string | null;
  reason: string | null;
  reasons?: readonly Reason[];
}

export interface ConditionPart {
  part: string;
  item: number;
  is_true: boolean | null;
  path: string;
  value: unknown;
  has_value: boolean;
  reason: string | null;
  reasons?: readonly Reason[];
}

export interface Condition {
  field: string;
  condition: string;
  next: string | null;
  is_true: boolean | null;
  reason: string | null;
  reasons?: readonly Reason[];
  value: unknown;
  parts: ConditionPart[];
  more_items: number;
}

export interface RuleList {
  basis: "exact" | "near" | "preview";
  seq: number;
  rules: AppliedRule[];
}

export interface TaskRules {
  task: string;
  seq: number;
  inputs: RuleList;
  outputs: RuleList | null;
  conditions: Condition[];
}

export interface Evaluation {
  kind: "path" | "expression" | "condition" | "mappings";
  seq: number;
  task: string;
  value?: unknown;
  error?: string | null;
  reason?: string | null;
  reasons?: readonly Reason[];
  condition?: Condition;
  rules?: AppliedRule[];
  input?: unknown;
  context?: unknown;
}
