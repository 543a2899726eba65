// HOST:PORT as people write it, and what is said when it is something else.

import Testing

@testable import HTTPFront

@Suite struct ListenAddressTests {
    @Test(arguments: [
        ("127.0.0.1:3333", "127.0.0.1", 3333), ("[::1]:3333", "::1", 3333), ("localhost:0", "localhost", 0),
        ("[::]:65535", "::", 65_535), ("a-b.example:80", "a-b.example", 80),
    ])
    func reads(text: String, host: String, port: Int) throws {
        let address = try ListenAddress(text)
        #expect(address == ListenAddress(host: host, port: port))
        #expect(address.description == text)
    }

    @Test(arguments: [
        ("3333", "'3333' has no port; write HOST:PORT, for instance 127.0.0.1:3333"),
        ("", "'' has no port; write HOST:PORT, for instance 127.0.0.1:3333"),
        (":3333", "':3333' has no host; 0.0.0.0 listens on every IPv4 address, [::] on every address"),
        ("h:", "'h:' has no port from 0 to 65535"),
        ("h:65536", "'h:65536' has no port from 0 to 65535"),
        ("h:+1", "'h:+1' has no port from 0 to 65535"),
        ("h:-1", "'h:-1' has no port from 0 to 65535"),
        ("::1:3333", "'::1:3333' is ambiguous; write an IPv6 address in brackets: [::1]:3333"),
        ("[::1:3333", "'[::1:3333' has brackets around something that is no IPv6 address"),
        ("[h]:3333", "'[h]:3333' has brackets around something that is no IPv6 address"),
    ])
    func refuses(text: String, message: String) {
        do throws(ListenAddressError) {
            let address = try ListenAddress(text)
            Issue.record("read \(address)")
        } catch {
            #expect("\(error)" == message)
        }
    }
}
