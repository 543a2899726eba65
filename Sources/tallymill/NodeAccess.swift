// Where the tokens of this run come from, on both sides: those that a web node demands, and the one that a client of
// web nodes brings.

import Logging
import ServiceKit
import Tokens

extension Session {
    /// The tokens that the role demands: of `--tokens-file`, else of the credential `tokens`; nil for none.
    func access() throws(Failure) -> Access? {
        guard let path = settings.optionalText(.tokensFile) else { return nil }
        return try Access(path: path)
    }

    /// The token of `--token-file`; nil for none.
    func token() throws(Failure) -> TokenSecret? {
        guard let path = settings.optionalText(.tokenFile) else { return nil }
        return try TokenSecret(file: path)
    }
}

extension Access {
    /// Says at start what is in force.
    func log(to logger: Logger) {
        logger.info("tokens are demanded", metadata: ["file": "\(path)", "tokens": "\(summary.tokens)"])
        warn(summary, logger)
    }

    /// Reads the file again. What is wrong with it is logged, and the tokens stay as they were.
    func reload(logger: Logger) {
        do throws(Failure) {
            let summary = try reload()
            logger.info(
                "tokens read again",
                metadata: [
                    "file": "\(path)", "tokens": "\(summary.tokens)", "added": "\(summary.added)",
                    "removed": "\(summary.removed)", "changed": "\(summary.changed)",
                ])
            warn(summary, logger)
        } catch {
            logger.error("tokens not read again: those of before stay in force", metadata: error.metadata)
        }
    }

    private func warn(_ summary: Summary, _ logger: Logger) {
        for warning in summary.warnings { logger.warning("\(warning)", metadata: ["file": "\(path)"]) }
    }
}
