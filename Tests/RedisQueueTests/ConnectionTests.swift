// Logging in, choosing a database, naming, and what a reply becomes.

import TallyCore
import TestSupport
import Testing

@testable import RedisQueue

@Suite struct ConnectionTests {
    private func url(_ server: RedisServer, _ user: String?, _ password: String?, database: Int = 0) -> RedisURL {
        RedisURL(
            address: .unix(path: server.socket), user: user, password: password.map { Secret($0) },
            database: database)
    }

    private func refusal(_ url: RedisURL) throws -> RedisError? {
        do throws(RedisError) {
            _ = try RedisConnection(RedisLink(url: url)).command(RedisCommand("PING"))  // PONG
            return nil
        } catch {
            return error
        }
    }

    @Test func passwordsAndUsers() throws {
        let server = try RedisServer()
        let admin = try server.connect()
        for command in [
            RedisCommand("ACL", "SETUSER", "alice", "on", ">wonder land", "~*", "+@all"),
            RedisCommand("CONFIG", "SET", "requirepass", "p@ss/wörd"),
        ] { #expect(try admin.command(command) == .status("OK")) }
        #expect(try refusal(url(server, nil, "p@ss/wörd")) == nil)
        #expect(try refusal(url(server, "default", "p@ss/wörd")) == nil)
        #expect(try refusal(url(server, "alice", "wonder land")) == nil)
        let wrong = try refusal(url(server, "alice", "wonder"))
        #expect(
            wrong?.description
                == "Redis refused: WRONGPASS invalid username-password pair or user is disabled.")
        #expect(wrong?.hint == "user or password is wrong")
        let none = try refusal(url(server, nil, nil))
        #expect(none?.description == "Redis refused: NOAUTH Authentication required.")
        #expect(none?.hint == "Redis wants a password: put it into the URL or the password file")
    }

    @Test func aPasswordFromAFile() throws {
        let server = try RedisServer()
        let admin = try server.connect()
        #expect(try admin.command(RedisCommand("CONFIG", "SET", "requirepass", "from file")) == .status("OK"))
        let path = server.folder + "/password"
        var url = url(server, nil, "overridden")
        for text in ["from file", "from file\n", "from file\r\n\n"] {
            try write(text, to: path)
            try url.readPassword(fromFile: path)
            #expect(try refusal(url) == nil)
        }
        for text in ["", "\n\n"] {
            try write(text, to: path)
            #expect(throws: RedisURLError.passwordFile(path: path, reason: "it is empty")) {
                try url.readPassword(fromFile: path)
            }
        }
        try write(String(repeating: "x", count: 4097), to: path)
        #expect(throws: RedisURLError.passwordFile(path: path, reason: "longer than 4096 bytes")) {
            try url.readPassword(fromFile: path)
        }
        #expect(
            RedisURLError.passwordFile(path: "/x", reason: "No such file or directory").description
                == "cannot read the Redis password from /x: No such file or directory")
        #expect(throws: RedisURLError.passwordFile(path: "/nowhere/x", reason: "No such file or directory")) {
            try url.readPassword(fromFile: "/nowhere/x")
        }
    }

    @Test func databases() throws {
        let server = try RedisServer()
        let five = try RedisConnection(RedisLink(url: url(server, nil, nil, database: 5)))
        #expect(try five.command(RedisCommand("SET", "k", "v")) == .status("OK"))
        #expect(try server.connect().command(RedisCommand("GET", "k")) == .null)
        #expect(try five.command(RedisCommand("GET", "k")) == .bytes(Array("v".utf8)))
        let far = try refusal(url(server, nil, nil, database: 16))
        #expect(far?.description == "Redis refused: ERR DB index is out of range")
    }

    @Test func namesAndTransport() throws {
        let server = try RedisServer(listensOnPort: true)
        let address = RedisURL.Address.tcp(host: "127.0.0.1", port: server.port)
        let link = RedisLink(url: RedisURL(address: address), clientName: "web node\n1")
        let connection = try RedisConnection(link)
        #expect(try connection.command(RedisCommand("CLIENT", "GETNAME")).text == "web-node-1")
        server.kill()
        #expect(
            throws: RedisError.unreachable("redis://127.0.0.1:\(server.port): Connection refused")
        ) { try RedisConnection(link) }
    }

    @Test func aUserWhoMayNotSetANameDoesWithout() throws {
        let server = try RedisServer()
        let rules = RedisCommand("ACL", "SETUSER", "bob", "on", ">pw", "~*", "+@all", "-client|setname")
        #expect(try server.connect().command(rules) == .status("OK"))
        #expect(try refusal(url(server, "bob", "pw")) == nil)
    }

    @Test func repliesOfAllKinds() throws {
        let connection = try Scene.shared().connect()
        let script = "return {1, 'two', {redis.status_reply('OK'), false}, redis.error_reply('CODE text')}"
        let expected = RedisReply.array([
            .integer(1), .bytes(Array("two".utf8)), .array([.status("OK"), .null]),
            .error(code: "CODE", message: "text"),
        ])
        #expect(try connection.command(RedisCommand("EVAL", script, "0")) == expected)
        #expect(throws: RedisError.self) { try connection.command(RedisCommand("NOSUCHCOMMAND")) }
        #expect(try connection.command(RedisCommand("ECHO", "")) == .bytes([]))
        #expect(connection.failure == nil)
    }

    @Test(arguments: [
        ("OOM command not allowed", "OOM", "command not allowed"),
        ("no code here", "ERR", "no code here"),
        ("", "ERR", ""),
        ("ERR", "ERR", ""),
        ("TALLYMILL text script: f, on @user_function:2.", "TALLYMILL", "text"),
        ("ERR a script: that says so", "ERR", "a script: that says so"),
    ])
    func errorTexts(text: String, code: String, message: String) {
        #expect(RedisReply(errorText: text) == .error(code: code, message: message))
    }

    @Test func backOffIsJitteredAndBounded() {
        var generator = SystemRandomNumberGenerator()
        var backoff = JitteredBackoff()
        for bound in [20, 40, 80, 160, 320, 640, 1000, 1000, 1000] as [UInt64] {
            #expect((1...bound).contains(backoff.next(using: &generator)))
        }
        for _ in 0..<200 { #expect((1...1000).contains(backoff.next(using: &generator))) }
        backoff.reset()
        #expect((1...20).contains(backoff.next(using: &generator)))
    }

    @Test func names() throws {
        let names = try KeyNames(namespace: "a.B_9-")
        #expect(names.topology == "a.B_9-:topology")
        #expect(
            names.group(of: PartitionID(epoch: 3, number: 5)).all
                == ["queue", "seqs", "applied", "meta"].map { "a.B_9-:{e3.p5}:\($0)" })
        #expect(try KeyNames(namespace: String(repeating: "x", count: 64)).namespace.count == 64)
        for text in ["", "a b", "a:b", "{a}", "ä", String(repeating: "x", count: 65)] {
            #expect(throws: NamespaceError(namespace: text)) { try KeyNames(namespace: text) }
        }
        #expect(
            NamespaceError(namespace: "a b").description
                == "the namespace \"a b\" is not 1 to 64 characters of A-Z a-z 0-9 . _ -")
    }
}
