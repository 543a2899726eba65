// Starting a child: the descriptors, attributes and C strings of one posix_spawn, each freed on every way out.

import CPlatform
import Glibc

extension ChildProcess {
    /// Starts a child; it has executed its program when this returns.
    ///
    /// Call it from a thread that lives as long as the child may (see the top of ChildProcess.swift).
    ///
    /// - Throws: exit code 1 if the program cannot be executed, 74 if an output file or pipe cannot be made.
    public static func spawn(_ plan: Plan) throws(Failure) -> ChildProcess {
        let output = try Stream(plan.output, number: STDOUT_FILENO)
        let errorOutput: Stream
        do throws(Failure) {
            errorOutput = try Stream(plan.errorOutput, number: STDERR_FILENO)
        } catch {
            output.closeBoth()
            throw error
        }
        let result = spawn(plan, [output, errorOutput])
        output.closeChildEnd()
        errorOutput.closeChildEnd()
        switch result {
        case .done(let pid):
            return ChildProcess(
                pid: pid, output: output.parentEnd.map { LineReader(owning: $0) },
                errorOutput: errorOutput.parentEnd.map { LineReader(owning: $0) })
        case .failed(let number):
            output.closeParentEnd()
            errorOutput.closeParentEnd()
            throw Failure(
                cannot: "start the program", errno: number, at: plan.executable, code: .failure,
                advice: "Is it installed, and may it be executed?")
        }
    }

    private static func spawn(_ plan: Plan, _ streams: [Stream]) -> SystemCall.Outcome<Int32> {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        let prepared = prepare(&actions, streams) ?? prepare(&attributes, blocking: plan.keepsSignals)
        if let prepared { return .failed(prepared) }
        let variables = plan.environment.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
        return withCStrings([plan.executable] + plan.arguments) { argv in
            withCStrings(variables) { envp in
                var pid: pid_t = 0
                let number = posix_spawn(&pid, plan.executable, &actions, &attributes, argv, envp)
                return number == 0 ? .done(pid) : .failed(number)
            }
        }
    }

    /// Adds what is done with descriptors in the child; an error number, or nil.
    private static func prepare(_ actions: inout posix_spawn_file_actions_t, _ streams: [Stream]) -> Int32? {
        var results: [Int32] = []
        for stream in streams {
            guard let end = stream.childEnd else { continue }
            results.append(posix_spawn_file_actions_adddup2(&actions, end, stream.number))
        }
        // After the others: in a parent without stdin, one of their descriptors may be 0.
        results.append(posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0))
        results.append(tm_spawn_close_from(&actions, 3))
        return results.first { $0 != 0 }
    }

    /// Own process group, no signal blocked unless asked for, every disposition the default; an error number, or nil.
    private static func prepare(_ attributes: inout posix_spawnattr_t, blocking: Bool) -> Int32? {
        var blocked = sigset_t()
        sigemptyset(&blocked)
        if blocking { blocked = SignalWaiter.handled }
        var all = sigset_t()
        sigfillset(&all)
        let flags = POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF
        return [
            posix_spawnattr_setpgroup(&attributes, 0),
            posix_spawnattr_setsigmask(&attributes, &blocked),
            posix_spawnattr_setsigdefault(&attributes, &all),
            posix_spawnattr_setflags(&attributes, Int16(flags)),
        ].first { $0 != 0 }
    }

    /// Lends an array of C strings that ends with a null pointer.
    private static func withCStrings<Value>(
        _ strings: [String], _ body: ([UnsafeMutablePointer<CChar>?]) -> Value
    ) -> Value {
        let pointers = strings.map { text in
            precondition(!text.utf8.contains(0), "an argument or a variable cannot hold a NUL byte")
            return strdup(text)
        }
        defer { for pointer in pointers { free(pointer) } }
        return body(pointers + [nil])
    }
}

/// Where one of the child's outputs goes while it is started.
private struct Stream {
    let number: Int32
    /// The descriptor that becomes the child's; nil leaves what the parent has.
    private(set) var childEnd: Int32?
    private(set) var parentEnd: Int32?

    init(_ output: ChildProcess.Plan.Output, number: Int32) throws(Failure) {
        self.number = number
        switch output {
        case .inherit: break
        case .null: childEnd = try Self.open("/dev/null", O_WRONLY)
        case .file(let path): childEnd = try Self.open(path, O_WRONLY | O_CREAT | O_APPEND)
        case .pipe:
            var ends: [Int32] = [-1, -1]
            guard tm_pipe(&ends) == 0 else { throw Failure(cannot: "make a pipe", errno: errno) }
            (parentEnd, childEnd) = (ends[0], ends[1])
        }
    }

    func closeChildEnd() { if let childEnd { SystemCall.close(childEnd) } }

    func closeParentEnd() { if let parentEnd { SystemCall.close(parentEnd) } }

    func closeBoth() {
        closeChildEnd()
        closeParentEnd()
    }

    private static func open(_ path: String, _ flags: Int32) throws(Failure) -> Int32 {
        switch SystemCall.open(path, flags) {
        case .done(let descriptor): return descriptor
        case .failed(let number): throw Failure(cannot: "open", errno: number, at: path)
        }
    }
}
