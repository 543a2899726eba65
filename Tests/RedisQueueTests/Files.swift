// Writing a small file without Foundation.

import Glibc

struct FileFailure: Error {
    let path: String
}

/// Makes `path` hold exactly `text`.
func write(_ text: String, to path: String) throws {
    let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw FileFailure(path: path) }
    defer { close(descriptor) }
    let bytes = Array(text.utf8)
    guard Glibc.write(descriptor, bytes, bytes.count) == bytes.count else { throw FileFailure(path: path) }
}
