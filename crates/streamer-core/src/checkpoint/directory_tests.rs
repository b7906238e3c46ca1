use super::*;

struct Text(u64, &'static str);

impl Definitions for Text {
    fn version(&self) -> u64 {
        self.0
    }

    fn to_bytes(&self) -> Vec<u8> {
        self.1.as_bytes().to_vec()
    }
}

fn definitions(version: u64, text: &'static str) -> Option<Arc<dyn Definitions>> {
    Some(Arc::new(Text(version, text)))
}

fn saved(position: &str, definitions: Option<&str>) -> Option<Saved> {
    Some(Saved {
        snapshot: None,
        witness: None,
        position: position.to_owned(),
        definitions: definitions.map(|text| text.as_bytes().to_vec()),
    })
}

#[tokio::test]
async fn what_was_saved_is_found_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/positions");
    let mut first = Directory::new(path.clone());
    assert_eq!(first.open("a").await.unwrap(), None);
    first
        .save("a", "p1", None, None, definitions(1, "one"))
        .await
        .unwrap();
    first
        .save("a", "p2", None, None, definitions(1, "one"))
        .await
        .unwrap();
    first
        .save("a", "p3", None, None, definitions(2, "two"))
        .await
        .unwrap();
    first.close().await;
    let names: Vec<String> = fs::read_dir(&path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".definitions"))
        .collect();
    assert_eq!(names.len(), 1, "{names:?}");
    let mut second = Directory::new(path);
    assert_eq!(second.open("a").await.unwrap(), saved("p3", Some("two")));
    assert_eq!(second.open("b").await.unwrap(), None);
}

#[tokio::test]
async fn the_second_owner_is_refused_until_the_first_lets_go() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("positions");
    let mut first = Directory::new(path.clone());
    first.open("a").await.unwrap();
    let mut second = Directory::new(path);
    let error = second.open("a").await.unwrap_err();
    assert_eq!(error.code(), Code::CheckpointLocked);
    assert!(
        error.message().contains("another streamer of this process"),
        "{error}"
    );
    second.open("b").await.unwrap();
    first.close().await;
    second.open("a").await.unwrap();
}

#[tokio::test]
async fn a_damaged_checkpoint_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("positions");
    let mut store = Directory::new(path.clone());
    store.open("a").await.unwrap();
    store.save("a", "p1", None, None, None).await.unwrap();
    store.close().await;
    fs::write(path.join("a.checkpoint"), b"").unwrap();
    let error = store.open("a").await.unwrap_err();
    assert_eq!(error.code(), Code::CheckpointInvalid);
}

#[tokio::test]
async fn definitions_that_are_damaged_are_missing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("positions");
    let mut store = Directory::new(path.clone());
    store.open("a").await.unwrap();
    store
        .save("a", "p1", None, None, definitions(1, "one"))
        .await
        .unwrap();
    store.close().await;
    let file = definitions_file(&path, "a", &checksum(b"one"));
    fs::write(file, b"other").unwrap();
    assert_eq!(store.open("a").await.unwrap(), saved("p1", None));
}

#[tokio::test]
async fn definitions_that_were_deleted_are_stored_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("positions");
    let mut store = Directory::new(path.clone());
    store.open("a").await.unwrap();
    store
        .save("a", "p1", None, None, definitions(1, "one"))
        .await
        .unwrap();
    fs::remove_file(definitions_file(&path, "a", &checksum(b"one"))).unwrap();
    store
        .save("a", "p2", None, None, definitions(1, "one"))
        .await
        .unwrap();
    store.close().await;
    assert_eq!(store.open("a").await.unwrap(), saved("p2", Some("one")));
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    #[tokio::test]
    async fn files_are_the_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("positions");
        let mut store = Directory::new(path.clone());
        store.open("a").await.unwrap();
        store
            .save("a", "p1", None, None, definitions(1, "one"))
            .await
            .unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        let mut files = 0;
        for entry in fs::read_dir(&path).unwrap() {
            files += 1;
            assert_eq!(entry.unwrap().metadata().unwrap().mode() & 0o777, 0o600);
        }
        assert_eq!(files, 3);
    }

    #[tokio::test]
    async fn a_directory_that_was_made_again_has_one_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("positions");
        let mut first = Directory::new(path.clone());
        first.open("a").await.unwrap();
        first.save("a", "p1", None, None, None).await.unwrap();
        fs::remove_dir_all(&path).unwrap();
        let mut second = Directory::new(path.clone());
        assert_eq!(second.open("a").await.unwrap(), None);
        second.save("a", "q1", None, None, None).await.unwrap();
        let renewed = first.renew().await.unwrap_err();
        assert_eq!(renewed.code(), Code::CheckpointLocked);
        let refused = first.save("a", "p2", None, None, None).await.unwrap_err();
        assert_eq!(refused.code(), Code::CheckpointLocked);
        second.close().await;
        assert_eq!(second.open("a").await.unwrap(), saved("q1", None));
    }

    #[tokio::test]
    async fn a_directory_that_was_made_again_is_taken_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("positions");
        let mut first = Directory::new(path.clone());
        first.open("a").await.unwrap();
        first
            .save("a", "p1", None, None, definitions(1, "one"))
            .await
            .unwrap();
        fs::remove_dir_all(&path).unwrap();
        let gone = first.save("a", "p2", None, None, definitions(1, "one")).await;
        assert_eq!(gone.unwrap_err().code(), Code::CheckpointFailed);
        first.renew().await.unwrap();
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        first
            .save("a", "p2", None, None, definitions(1, "one"))
            .await
            .unwrap();
        let mut second = Directory::new(path);
        assert_eq!(second.open("a").await.unwrap_err().code(), Code::CheckpointLocked);
        first.close().await;
        assert_eq!(second.open("a").await.unwrap(), saved("p2", Some("one")));
    }

    #[tokio::test]
    async fn a_directory_that_others_may_write_to_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("positions");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        let error = Directory::new(path).open("a").await.unwrap_err();
        assert_eq!(error.code(), Code::CheckpointFailed);
        assert!(error.message().contains("others may write"), "{error}");
    }

    #[tokio::test]
    async fn a_directory_of_somebody_else_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut path = folder.path().join("positions");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        // Only root can give a directory away; to everybody else, that of root is one.
        if std::os::unix::fs::chown(&path, Some(65_534), None).is_err() {
            path = PathBuf::from("/");
        }
        let error = Directory::new(path).open("a").await.unwrap_err();
        assert_eq!(error.code(), Code::CheckpointFailed);
    }

    #[tokio::test]
    async fn links_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("positions");
        let mut store = Directory::new(path.clone());
        store.open("a").await.unwrap();
        let victim = folder.path().join("victim");
        fs::write(&victim, b"kept").unwrap();
        symlink(&victim, path.join("a.checkpoint.new")).unwrap();
        symlink(&victim, path.join("b.lock")).unwrap();
        store.save("a", "p1", None, None, None).await.unwrap();
        assert_eq!(store.open("b").await.unwrap_err().code(), Code::CheckpointFailed);
        assert_eq!(fs::read(&victim).unwrap(), b"kept");
    }
}
