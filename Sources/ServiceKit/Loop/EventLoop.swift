// One thread that waits for many descriptors: epoll(7), level-triggered, and nothing else between the kernel and who
// handles the bytes.
//
// A turn has a fixed order: what is ready is handled, then what other threads have sent, then what time it is, then
// what was put off to the end of the turn. So work that is worth doing once for many events - flushing answers, pushing
// a batch - is put off, and sees all of them.
//
//   wait ──> handlers of ready descriptors ──> `execute` ──> repeated work that is due ──> `atEndOfTurn` ──> wait
//
// What is worth more the later it happens, as long as there is something else to do, waits until a turn finds nothing
// ready (`whenIdle`), but for a bounded time.
//
// A handler may stop watching any descriptor, also one whose event comes later in the same turn: a generation tells the
// old watch from the next one in its place.

import CPlatform
import Dispatch
import Glibc
import Synchronization

/// What can be done with a descriptor, or is wanted.
public struct IOEvents: OptionSet, Sendable {
    public let rawValue: UInt32

    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// There are bytes, or the end, or a connection to accept.
    public static let readable = IOEvents(rawValue: UInt32(TM_READABLE))
    public static let writable = IOEvents(rawValue: UInt32(TM_WRITABLE))
    /// Both directions are closed, or the connection has failed: reported whether it is wanted or not.
    public static let hungUp = IOEvents(rawValue: UInt32(TM_FAILED | TM_HUNG_UP))
}

/// Who is told about a descriptor.
public protocol DescriptorHandler: AnyObject {
    /// On the loop. What is not dealt with is reported again in the next turn.
    func isReady(_ events: IOEvents)
}

/// A descriptor under watch.
public struct Watch: Hashable, Sendable {
    fileprivate let index: UInt32
    fileprivate let generation: UInt32

    /// What the kernel reports.
    fileprivate var name: UInt64 { UInt64(generation) << 32 | UInt64(index) }
}

/// An event loop. `execute`, `stop` and `isInLoop` may be called from any thread; everything else belongs to the loop,
/// or, until `run`, to who made it.
// @unchecked: `tasks` is locked, `owner` and `isStopping` are atomic, what is `let` never changes, and the rest is
// touched by the loop's thread alone, or while no thread turns it. Methods that touch it assert that in debug builds.
//
// `@exclusivity(unchecked)`: these properties are touched several times a turn, and the run-time check for overlapping
// access costs a lookup each time. None is passed along by reference while others' code runs: work and handlers are
// taken out of them before they are called.
public final class EventLoop: @unchecked Sendable {
    private struct Slot {
        var handler: (any DescriptorHandler)?
        var descriptor: Int32 = -1
        var generation: UInt32 = 0
    }

    /// What other threads have sent.
    private struct Tasks {
        var waiting: [@Sendable () -> Void] = []
        /// Nobody runs them any more.
        var isClosed = false
    }

    private static let wakeUp = UInt64.max

    private let poller: Int32
    private let waker: Int32
    private let events = UnsafeMutablePointer<tm_event>.allocate(capacity: TM_EVENTS_MAX)
    private let clock: @Sendable () -> UInt64
    private let tasks = Mutex(Tasks())
    private let owner = Atomic<UInt>(0)
    private let isStopping = Atomic<Bool>(false)
    @exclusivity(unchecked) private var slots: [Slot] = []
    private var freeSlots: [UInt32] = []
    @exclusivity(unchecked) private var putOff: [() -> Void] = []
    @exclusivity(unchecked) private var idleWork: [() -> Void] = []
    /// When `idleWork` runs at the latest.
    @exclusivity(unchecked) private var idleDeadline = UInt64.max
    private var repeated: [RepeatedWork] = []
    /// How many turns have begun.
    public private(set) var turns: UInt64 = 0
    /// Monotonic milliseconds, by the loop's clock, when this turn began.
    @exclusivity(unchecked) public private(set) var now: UInt64

    /// - Parameter clock: monotonic milliseconds; tests bring their own.
    /// - Throws: exit code 74 if the system has no descriptors left.
    public init(clock: @escaping @Sendable () -> UInt64 = MonotonicClock.milliseconds) throws(Failure) {
        poller = tm_poller()
        waker = tm_waker()
        self.clock = clock
        now = clock()
        guard poller >= 0, waker >= 0 else { throw Failure(cannot: "make an event loop", errno: errno) }
        guard tm_poller_add(poller, waker, IOEvents.readable.rawValue, Self.wakeUp) == 0 else {
            throw Failure(cannot: "make an event loop", errno: errno)
        }
    }

    deinit {
        events.deallocate()
        SystemCall.close(poller)
        SystemCall.close(waker)
    }

    // MARK: From any thread

    /// Runs `work` on the loop, soon. After `stop` it may never run.
    public func execute(_ work: @escaping @Sendable () -> Void) {
        let isFirst = tasks.withLock { tasks in
            // It would hold what it captures for as long as the loop is there.
            if tasks.isClosed { return false }
            tasks.waiting.append(work)
            return tasks.waiting.count == 1
        }
        if isFirst { wake() }
    }

    /// Runs `work` on the loop and waits for it. From any thread but the loop's, while the loop runs.
    public func perform<Value: Sendable>(_ work: @escaping @Sendable () -> Value) -> Value {
        let result = Mutex<Value?>(nil)
        let done = DispatchSemaphore(value: 0)
        execute {
            let value = work()
            result.withLock { $0 = value }
            done.signal()
        }
        done.wait()
        guard let value = result.withLock({ $0 }) else { preconditionFailure("work ended without a result") }
        return value
    }

    /// Ends `run` after the turn under way.
    public func stop() {
        isStopping.store(true, ordering: .releasing)
        wake()
    }

    public var isInLoop: Bool { owner.load(ordering: .relaxed) == UInt(pthread_self()) }

    /// In debug builds: traps outside the loop.
    public func assertInLoop() {
        assert(isInLoop, "this belongs to the event loop")
    }

    /// In debug builds: traps on another thread than the one that turns the loop.
    private func assertOwned() {
        assert(owner.load(ordering: .relaxed) == 0 || isInLoop, "this belongs to the event loop")
    }

    private func wake() {
        // A counter that is full wakes as well.
        precondition(tm_wake(waker) == 0 || errno == EAGAIN, "an event loop cannot be woken: errno \(errno)")
    }

    // MARK: Descriptors

    /// Reports `wanted` to `handler` until `unwatch`. The loop keeps the handler alive meanwhile.
    ///
    /// - Throws: exit code 74 if the system refuses.
    public func watch(
        _ descriptor: Int32, _ wanted: IOEvents, _ handler: any DescriptorHandler
    ) throws(Failure) -> Watch {
        assertOwned()
        let index = freeSlots.popLast() ?? UInt32(slots.count)
        if index == slots.count { slots.append(Slot()) }
        let watch = Watch(index: index, generation: slots[Int(index)].generation)
        guard tm_poller_add(poller, descriptor, wanted.rawValue, watch.name) == 0 else {
            freeSlots.append(index)
            throw Failure(cannot: "watch a descriptor", errno: errno)
        }
        slots[Int(index)].handler = handler
        slots[Int(index)].descriptor = descriptor
        return watch
    }

    /// Wants other events from now on.
    public func change(_ watch: Watch, _ wanted: IOEvents) {
        assertOwned()
        let result = tm_poller_change(poller, slots[Int(watch.index)].descriptor, wanted.rawValue, watch.name)
        precondition(result == 0, "a watched descriptor was closed: errno \(errno)")
    }

    /// Reports nothing more. To be called before the descriptor is closed.
    public func unwatch(_ watch: Watch) {
        assertOwned()
        let index = Int(watch.index)
        precondition(slots[index].generation == watch.generation, "a watch was ended twice")
        _ = tm_poller_remove(poller, slots[index].descriptor)  // closing it does the same
        slots[index].handler = nil
        slots[index].descriptor = -1
        slots[index].generation &+= 1
        freeSlots.append(watch.index)
    }

    // MARK: Work

    /// Runs `work` once, after everything that is ready in this turn has been handled.
    public func atEndOfTurn(_ work: @escaping () -> Void) {
        assertOwned()
        putOff.append(work)
    }

    /// Runs `work` once, when a turn finds nothing ready, or after so many milliseconds.
    public func whenIdle(withinMilliseconds milliseconds: UInt64, _ work: @escaping () -> Void) {
        assertOwned()
        idleWork.append(work)
        idleDeadline = min(idleDeadline, now + milliseconds)
    }

    /// Runs `work` every so many milliseconds, first after one period.
    public func every(milliseconds: UInt64, _ work: @escaping () -> Void) -> RepeatedWork {
        assertOwned()
        let work = RepeatedWork(period: milliseconds, due: clock() + milliseconds, work)
        repeated.append(work)
        return work
    }

    // MARK: Turning

    /// Turns until `stop`.
    public func run() {
        owner.store(UInt(pthread_self()), ordering: .relaxed)
        while !isStopping.load(ordering: .acquiring) { turn() }
        // What was sent, put off or repeated may hold connections and services, and these hold the loop.
        putOff = []
        idleWork = []
        repeated = []
        let left = tasks.withLock { tasks in
            defer { tasks = Tasks(isClosed: true) }
            return tasks.waiting
        }
        owner.store(0, ordering: .relaxed)
        _ = left  // released without the lock
    }

    /// One turn, on the calling thread, which the loop belongs to from then on.
    ///
    /// - Parameter isWaiting: false: only what is ready now.
    func turn(isWaiting: Bool = true) {
        if !isWaiting { owner.store(UInt(pthread_self()), ordering: .relaxed) }
        let count = tm_poller_wait(poller, events, isWaiting && idleWork.isEmpty ? timeout() : 0)
        precondition(count >= 0 || errno == EINTR, "an event loop cannot wait: errno \(errno)")
        now = clock()
        turns += 1
        var isWoken = false
        for position in 0..<max(0, Int(count)) {
            let name = events[position].name
            if name == Self.wakeUp {
                isWoken = true
                continue
            }
            let index = Int(truncatingIfNeeded: name & 0xFFFF_FFFF)
            guard UInt64(slots[index].generation) == name >> 32, let handler = slots[index].handler else { continue }
            handler.isReady(IOEvents(rawValue: events[position].events))
        }
        if isWoken { runTasks() }
        runRepeated()
        runPutOff()
        if !idleWork.isEmpty, count == 0 || now >= idleDeadline { runIdleWork() }
    }

    /// Milliseconds until something is due, -1 for never.
    private func timeout() -> Int32 {
        guard let due = repeated.map(\.due).min() else { return -1 }
        let now = clock()
        return due <= now ? 0 : Int32(clamping: due - now)
    }

    private func runTasks() {
        _ = tm_wake_clear(waker)  // or it is clear already
        var work: [@Sendable () -> Void] = []
        tasks.withLock { swap(&$0.waiting, &work) }
        for task in work { task() }
    }

    private func runRepeated() {
        if repeated.isEmpty { return }
        for work in repeated where work.due <= now && !work.isCancelled { work.run(now: now) }
        repeated.removeAll(where: \.isCancelled)
    }

    private func runIdleWork() {
        var work: [() -> Void] = []
        swap(&work, &idleWork)
        idleDeadline = .max
        for item in work { item() }
        runPutOff()
    }

    private func runPutOff() {
        while !putOff.isEmpty {
            var work: [() -> Void] = []
            swap(&work, &putOff)
            for item in work { item() }
        }
    }
}

/// Work that a loop repeats until it is cancelled. Belongs to the loop.
public final class RepeatedWork {
    private let period: UInt64
    fileprivate private(set) var due: UInt64
    fileprivate private(set) var isCancelled = false
    private var work: () -> Void

    fileprivate init(period: UInt64, due: UInt64, _ work: @escaping () -> Void) {
        precondition(period > 0, "work without a pause")
        self.period = period
        self.due = due
        self.work = work
    }

    /// Never runs again, and lets go of what it held.
    public func cancel() {
        isCancelled = true
        work = {}
    }

    /// A loop that was held up does not catch up.
    fileprivate func run(now: UInt64) {
        due = max(due + period, now + 1)
        work()
    }
}
