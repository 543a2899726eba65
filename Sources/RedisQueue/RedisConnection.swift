// The door to hiredis: one connection, from connect to its first failure.
//
// It blocks, and belongs to the thread that made it, until `stopBlocking` gives it to an event loop. It never connects
// again by itself: after any error but a refusal the context is dead (hiredis says so, and answers that are still under
// way would be taken for those of later commands), `failure` says why, and the owner makes a new connection when it
// sees fit. A few refusals end it, too, as soon as all that was sent is answered: those of a Redis that does not take
// writes, or not any more. Behind its address may be another one by now, which only a new connection reaches.
//
// Commands may be sent ahead (`send`) and their answers read one by one (`receive`). What is sent is written out in
// slices, so that Redis works on the first commands of a pipeline while the last are still being laid out. Redis never
// stops reading while answers wait, so a pipeline of any length cannot lock up.
//
// What Redis sends is read here and fed to hiredis, which has no bound of its own for an answer: one that does not end
// is dropped with its connection before it fills the memory (AnswerBudget).
//
// On an event loop: `send` lays out, `writeSome` and `readSome` move what the socket takes and has, `nextReply` returns
// an answer that is there.

import CHiredis
import Glibc
import TallyCore

/// A connection to Redis. Not thread-safe.
public final class RedisConnection {
    private let context: UnsafeMutablePointer<redisContext>
    public let link: RedisLink
    /// Why the connection is of no more use, or nil.
    public private(set) var failure: RedisError?
    /// Commands whose answers have not been received.
    private(set) var unanswered = 0
    private var unwrittenBytes = 0
    /// A refusal that ends the connection once nothing is unanswered.
    private var lastRefusal: RedisError?
    private var isBlocking = true
    private var budget = AnswerBudget(bytes: Limits.answerBytes)
    private let chunk = UnsafeMutableRawBufferPointer.allocate(
        byteCount: RedisConnection.chunkBytes, alignment: 1)
    /// As of the last look; nil before the first.
    var wasReplica: Bool?

    private static let sliceBytes = 1 << 20
    private static let chunkBytes = 16 << 10
    /// A write to a connection that Redis has closed must be an error, not the end of the process.
    private static let ignoreBrokenPipes: Void = {
        _ = signal(SIGPIPE, SIG_IGN)  // fails for invalid signal numbers only
    }()

    /// Connects, logs in, selects the database and names the connection.
    public init(_ link: RedisLink) throws(RedisError) {
        Self.ignoreBrokenPipes
        self.link = link
        let limit = Self.interval(link.connectMilliseconds)
        let opened =
            switch link.url.address {
            case .unix(let path): redisConnectUnixWithTimeout(path, limit)
            case .tcp(let host, let port): redisConnectWithTimeout(host, Int32(port), limit)
            }
        guard let opened else { throw .unreachable("\(link.url): out of memory") }
        context = opened
        guard opened.pointee.err == 0 else { throw .unreachable("\(link.url): \(Self.errorText(opened))") }
        // A child process must not hold the connection open.
        guard fcntl(opened.pointee.fd, F_SETFD, FD_CLOEXEC) == 0 else { throw fail() }
        try setTimeout(milliseconds: link.commandMilliseconds)
        if case .tcp = link.url.address, redisEnableKeepAlive(opened) != REDIS_OK {
            throw .unreachable("\(link.url): \(Self.errorText(opened))")
        }
        try introduce()
    }

    deinit {
        redisFree(context)
        chunk.deallocate()
    }

    /// Sends a command and waits for its answer; an error reply is thrown.
    ///
    /// - Parameter blockingMilliseconds: how long Redis itself may wait before it answers.
    public func command(
        _ command: RedisCommand, blockingMilliseconds: UInt64 = 0
    ) throws(RedisError) -> RedisReply {
        if let failure { throw failure }
        precondition(unanswered == 0, "answers of a pipeline have not been received")
        if blockingMilliseconds > 0 {
            try setTimeout(milliseconds: link.commandMilliseconds + blockingMilliseconds)
        }
        try send(command)
        let reply = try receive()
        if blockingMilliseconds > 0 { try setTimeout(milliseconds: link.commandMilliseconds) }
        if case .error(let code, let message) = reply { throw .server(code: code, message: message) }
        return reply
    }

    /// Sends a command ahead; `receive` returns its answer after those of the commands before it.
    public func send(_ command: RedisCommand) throws(RedisError) {
        if let failure { throw failure }
        guard command.append(to: context) == REDIS_OK else { throw fail() }
        if unanswered == 0 { budget.renew() }
        unanswered += 1
        unwrittenBytes += command.byteCount
        if isBlocking, unwrittenBytes >= Self.sliceBytes { try write() }
    }

    /// The next answer; an error reply is a value here.
    public func receive() throws(RedisError) -> RedisReply {
        if let failure { throw failure }
        precondition(unanswered > 0, "no answer is due")
        try write()
        while true {
            if let reply = try nextReply() {
                // Each answer of a pipeline that is waited for has a budget of its own.
                budget.renew()
                return reply
            }
            try readSome()
        }
    }

    private func take(_ pointer: UnsafeMutableRawPointer) throws(RedisError) -> RedisReply {
        defer { freeReplyObject(pointer) }
        unanswered -= 1
        do throws(RedisError) {
            let reply = try RedisReply(copying: pointer.assumingMemoryBound(to: redisReply.self).pointee)
            if case .error(let code, let message) = reply, RedisError.codesThatEnd.contains(code) {
                lastRefusal = .server(code: code, message: message)
            }
            if unanswered == 0, let lastRefusal { failure = lastRefusal }
            guard case .error("NOPERM", let message) = reply else { return reply }
            // Redis says "this user", and not which.
            return .error(code: "NOPERM", message: "user \(link.url.user ?? "default"): \(message)")
        } catch {
            failure = error
            throw error
        }
    }

    // MARK: On an event loop

    /// The socket, to be watched. Not closed before this object is gone.
    public var descriptor: Int32 { context.pointee.fd }

    /// From now on no call waits; `command` and `receive` may not be used any more.
    func stopBlocking() throws(RedisError) {
        let flags = fcntl(descriptor, F_GETFL)
        guard flags >= 0, fcntl(descriptor, F_SETFL, flags | O_NONBLOCK) == 0 else { throw fail() }
        context.pointee.flags &= ~REDIS_BLOCK
        isBlocking = false
        budget = AnswerBudget(bytes: Limits.flightAnswerBytes)
    }

    /// Writes what the socket takes; true when nothing is left.
    func writeSome() throws(RedisError) -> Bool {
        if let failure { throw failure }
        var isDone: Int32 = 0
        guard redisBufferWrite(context, &isDone) == REDIS_OK else { throw fail() }
        return isDone != 0
    }

    /// Reads what the socket has.
    func readSome() throws(RedisError) {
        if let failure { throw failure }
        let count = read(descriptor, chunk.baseAddress, chunk.count)
        if count < 0, errno == EINTR || errno == EAGAIN && !isBlocking { return }
        guard count > 0 else { throw lost(count == 0 ? nil : errno) }
        let bytes = UnsafeRawBufferPointer(rebasing: chunk[..<count])
        guard budget.take(bytes) else { throw overlong(budget.bytesMax) }
        let characters = bytes.baseAddress?.assumingMemoryBound(to: CChar.self)
        guard redisReaderFeed(context.pointee.reader, characters, count) == REDIS_OK else {
            let error = RedisError.protocolViolation(Self.errorText(&context.pointee.reader.pointee.errstr))
            failure = error
            throw error
        }
        if isLineOverlong { throw overlong(Limits.answerLineBytesMax) }
    }

    private func overlong(_ bytesMax: Int) -> RedisError {
        let error = RedisError.overlong(bytesMax: bytesMax)
        failure = error
        return error
    }

    /// Whether what is not understood yet begins with a line that does not end. Of a string that is under way it is the
    /// line with its length.
    private var isLineOverlong: Bool {
        guard let reader = context.pointee.reader?.pointee, let buffer = reader.buf else { return false }
        guard reader.len - reader.pos > Limits.answerLineBytesMax else { return false }
        return memchr(buffer + reader.pos, Int32(UInt8(ascii: "\n")), Limits.answerLineBytesMax) == nil
    }

    /// The socket has no more: it was closed, or reading failed with `number`.
    private func lost(_ number: Int32?) -> RedisError {
        let error: RedisError =
            switch number {
            case nil: .connectionLost("Server closed the connection")
            case EAGAIN, EWOULDBLOCK, ETIMEDOUT: .timedOut(milliseconds: link.commandMilliseconds)
            case let number?: .connectionLost(String(cString: strerror(number)))
            }
        failure = error
        return error
    }

    /// The next answer, if it is there as a whole.
    func nextReply() throws(RedisError) -> RedisReply? {
        if let failure { throw failure }
        var pointer: UnsafeMutableRawPointer?
        guard redisGetReplyFromReader(context, &pointer) == REDIS_OK else { throw fail() }
        guard let pointer else { return nil }
        guard unanswered > 0 else {
            freeReplyObject(pointer)
            throw .protocolViolation("an answer to nothing")
        }
        return try take(pointer)
    }

    /// Declares the connection dead: an answer made no sense, so those behind it cannot be trusted.
    func abandon(_ reason: RedisError) {
        if failure == nil { failure = reason }
    }

    private func write() throws(RedisError) {
        var isDone: Int32 = 0
        while isDone == 0 {
            guard redisBufferWrite(context, &isDone) == REDIS_OK else { throw fail() }
        }
        unwrittenBytes = 0
    }

    private func introduce() throws(RedisError) {
        if let password = link.url.password {
            var login = RedisCommand("AUTH")
            if let user = link.url.user { login.append(user) }
            login.append(password)
            try sendOnce(&login)
            let reply = try receive()
            if case .error(let code, let message) = reply { throw .server(code: code, message: message) }
            try expectOK(reply)
        }
        if link.url.database != 0 { try expectOK(RedisCommand("SELECT", String(link.url.database))) }
        let name = link.clientName.utf8.map { (0x21...0x7E).contains($0) ? $0 : UInt8(ascii: "-") }
        do throws(RedisError) {
            try expectOK(RedisCommand("CLIENT", "SETNAME", String(decoding: name, as: UTF8.self)))
        } catch .server(let code, _) where code == "NOPERM" {
            // The name is for CLIENT LIST alone: a user who may not set it does without.
        }
    }

    /// Past hiredis, which would leave a copy in memory that it has given back.
    private func sendOnce(_ secret: inout RedisCommand) throws(RedisError) {
        precondition(unanswered == 0 && unwrittenBytes == 0 && isBlocking, "a secret goes alone")
        budget.renew()
        unanswered += 1
        let descriptor = descriptor
        let number = secret.spend { bytes -> Int32? in
            var offset = 0
            while offset < bytes.count {
                let count = Glibc.send(
                    descriptor, bytes.baseAddress?.advanced(by: offset), bytes.count - offset, Int32(MSG_NOSIGNAL))
                if count > 0 { offset += count } else if errno != EINTR { return errno }
            }
            return nil
        }
        if let number { throw lost(number) }
    }

    private func expectOK(_ command: RedisCommand) throws(RedisError) {
        try expectOK(try self.command(command))
    }

    private func expectOK(_ reply: RedisReply) throws(RedisError) {
        guard reply == .status("OK") else {
            abandon(.protocolViolation("\(reply) while connecting"))
            throw .protocolViolation("\(reply) while connecting")
        }
    }

    private func setTimeout(milliseconds: UInt64) throws(RedisError) {
        guard redisSetTimeout(context, Self.interval(milliseconds)) == REDIS_OK else { throw fail() }
    }

    /// Notes why the context is dead. To be called directly after hiredis failed, for errno's sake.
    private func fail() -> RedisError {
        let number = errno
        let error: RedisError =
            switch context.pointee.err {
            case REDIS_ERR_IO where number == EAGAIN || number == EWOULDBLOCK || number == ETIMEDOUT:
                .timedOut(milliseconds: link.commandMilliseconds)
            case REDIS_ERR_PROTOCOL: .protocolViolation(Self.errorText(context))
            default: .connectionLost(Self.errorText(context))
            }
        failure = error
        return error
    }

    private static func errorText(_ context: UnsafeMutablePointer<redisContext>) -> String {
        errorText(&context.pointee.errstr)
    }

    private static func errorText<Characters>(_ characters: inout Characters) -> String {
        withUnsafeBytes(of: &characters) { bytes in String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self) }
    }

    private static func interval(_ milliseconds: UInt64) -> timeval {
        precondition(milliseconds > 0, "a timeout of zero means none")
        return timeval(tv_sec: Int(milliseconds / 1000), tv_usec: Int(milliseconds % 1000) * 1000)
    }
}
