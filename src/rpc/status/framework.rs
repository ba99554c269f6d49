//! What the framework says of calls that no handler sees, in the words of the table.

use stanchion_client::proto::ErrorReason;
use tonic::{Code, Status};
use tonic_types::ErrorDetails;

use super::{Row, build, deadline_exceeded};

/// What the framework said of a call that no handler saw, in the words of this table; everything
/// else as it is.
pub fn of_framework(status: Status) -> Status {
    use ErrorReason as R;
    // Whatever comes from the table has details.
    if !status.details().is_empty() {
        return status;
    }
    let message = status.message();
    let (code, reason, message) = match status.code() {
        Code::OutOfRange if message.contains("decoded message length") => (
            Code::ResourceExhausted,
            R::RequestTooLarge,
            message.replace(
                "Error, decoded message",
                "the request is too large: message",
            ),
        ),
        Code::ResourceExhausted if message.contains("decompressing") => (
            Code::ResourceExhausted,
            R::RequestTooLarge,
            "the request is too large once it is decompressed".into(),
        ),
        Code::OutOfRange if message.contains("encoded message length") => (
            Code::ResourceExhausted,
            R::ResponseTooLarge,
            message.replace("Error, encoded message", "the answer is too large: message"),
        ),
        // What our own code has to say of itself comes with details, so this is the decoder.
        Code::Internal => (
            Code::InvalidArgument,
            R::InvalidArgument,
            format!("the request is no message of this method: {message}"),
        ),
        Code::Unimplemented => (
            Code::Unimplemented,
            R::Unimplemented,
            match message {
                "" => "there is no such method".into(),
                message => message.to_owned(),
            },
        ),
        Code::DeadlineExceeded => return deadline_exceeded(),
        _ => return status,
    };
    build(Row::new(code, reason), message, ErrorDetails::new())
}

#[cfg(test)]
mod tests {
    use tonic_types::StatusExt;

    use crate::domain::Error;

    use super::{super::of, *};

    #[test]
    fn what_the_framework_says_gets_a_reason() {
        for (status, code, reason) in [
            (
                Status::out_of_range("Error, decoded message length too large: found 9 bytes"),
                Code::ResourceExhausted,
                ErrorReason::RequestTooLarge,
            ),
            (
                Status::out_of_range("Error, encoded message length too large: found 9 bytes"),
                Code::ResourceExhausted,
                ErrorReason::ResponseTooLarge,
            ),
            (
                Status::internal("failed to decode Protobuf message: invalid wire type"),
                Code::InvalidArgument,
                ErrorReason::InvalidArgument,
            ),
            (
                Status::unimplemented(""),
                Code::Unimplemented,
                ErrorReason::Unimplemented,
            ),
        ] {
            let told = of_framework(status);
            assert_eq!(told.code(), code);
            let info = told.get_details_error_info().unwrap();
            assert_eq!(info.reason, reason.as_str_name());
        }
    }

    #[test]
    fn what_has_details_already_stays_as_it_is() {
        let told = of_framework(of(Error::Internal("a bug".into())));
        assert_eq!(told.code(), Code::Internal);
    }
}
