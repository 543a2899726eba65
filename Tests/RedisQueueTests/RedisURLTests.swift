// What operators write, what they get wrong, and that no password ever shows.

import Testing

@testable import RedisQueue

@Suite struct RedisURLTests {
    private func login(_ text: String) throws -> [String?] {
        let url = try RedisURL(text)
        return [url.user, url.password?.withBytes { String(decoding: $0, as: UTF8.self) }]
    }

    @Test(arguments: [
        ("redis://localhost", RedisURL.Address.tcp(host: "localhost", port: 6379), 0, "redis://localhost:6379"),
        ("redis://10.0.0.1:7000/", .tcp(host: "10.0.0.1", port: 7000), 0, "redis://10.0.0.1:7000"),
        ("REDIS://h:1/15", .tcp(host: "h", port: 1), 15, "redis://h:1/15"),
        ("redis://u:p@[::1]:65535/2", .tcp(host: "::1", port: 65535), 2, "redis://[::1]:65535/2"),
        ("redis://[fe80::1]", .tcp(host: "fe80::1", port: 6379), 0, "redis://[fe80::1]:6379"),
        ("unix:///run/redis.sock", .unix(path: "/run/redis.sock"), 0, "unix:///run/redis.sock"),
        ("unix:///a%20b?db=3", .unix(path: "/a b"), 3, "unix:///a b?db=3"),
        ("unix://u:p@/s", .unix(path: "/s"), 0, "unix:///s"),
    ])
    func addresses(text: String, address: RedisURL.Address, database: Int, description: String) throws {
        let url = try RedisURL(text)
        #expect(url.address == address)
        #expect(url.database == database)
        #expect(url.description == description)
    }

    @Test func logins() throws {
        #expect(try login("redis://h") == [nil, nil])
        #expect(try login("redis://:secret@h") == [nil, "secret"])
        #expect(try login("redis://alice@h") == ["alice", nil])
        #expect(try login("redis://alice:a%2Fb%40c%3Ad:e@h") == ["alice", "a/b@c:d:e"])
        #expect(try login("redis://alice:p@ss@h") == ["alice", "p@ss"])
        #expect(try login("unix://alice:p%C3%A4ss@/s") == ["alice", "päss"])
    }

    @Test(arguments: [
        ("", RedisURLError.scheme), ("localhost:6379", .scheme), ("http://h", .scheme), ("/run/redis.sock", .scheme),
        ("rediss://h", .encryption), ("redis://", .host), ("redis://:6379", .host), ("redis:///1", .host),
        ("redis://[::1", .host), ("redis://[::1]x", .host), ("redis://h:", .port), ("redis://h:0", .port),
        ("redis://h:65536", .port), ("redis://h:+1", .port), ("redis://h:a", .port), ("redis://h/x", .database),
        ("redis://h/-1", .database), ("redis://h/65536", .database), ("redis://h?db=1", .query),
        ("redis://h#1", .query), ("redis://u:%zz@h", .login), ("redis://u:%4@h", .login), ("redis://u:%+4@h", .login),
        ("redis://u:%ff@h", .login), ("redis://u:%00@h", .login), ("unix://", .path), ("unix://s", .path),
        ("unix:///s?x=1", .query), ("unix:///s?db=", .database),
        ("unix:///" + String(repeating: "x", count: 107), .pathLength(108)),
    ])
    func refusals(text: String, error: RedisURLError) {
        #expect(throws: error) { try RedisURL(text) }
    }

    @Test func theLongestSocketPath() throws {
        #expect(try RedisURL("unix:///" + String(repeating: "x", count: 106)).description.utf8.count == 7 + 107)
    }

    @Test func noPasswordShows() throws {
        let url = try RedisURL("redis://alice:hunter2@h:1/2")
        var dumped = ""
        dump(RedisLink(url: url), to: &dumped)
        for text in ["\(url)", String(reflecting: url), dumped, "\(RedisLink(url: url))", "\(url.password as Any)"] {
            #expect(!text.contains("hunter2"))
        }
        // A slash in a password cuts it in two: no part of it is quoted.
        do throws(RedisURLError) {
            _ = try RedisURL("redis://alice:hunt/er2@h")  // refused
            Issue.record("accepted")
        } catch {
            #expect(!"\(error)".contains("hunt") && !"\(error)".contains("er2"))
            #expect(error == .login)
        }
    }

    @Test func sentences() {
        #expect(
            RedisURLError.encryption.description
                == "rediss:// is not supported (no TLS): use redis:// through a tunnel or a private network, "
                + "or unix://")
        #expect(
            RedisURLError.pathLength(108).description
                == "the socket path of the Redis URL has 108 bytes, the system allows 107")
    }
}
